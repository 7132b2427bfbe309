"""Certificates for the loopback interface: an authority, those it signs, and how a node and its peers use them."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import trustme

from node.config import DestinationTLS, ListenTLS

NOW = datetime.now(UTC)
YESTERDAY, TOMORROW = NOW - timedelta(days=1), NOW + timedelta(days=1)
EXPIRED = {"not_before": NOW - timedelta(days=9), "not_after": YESTERDAY}
NOT_YET = {"not_before": TOMORROW, "not_after": NOW + timedelta(days=9)}


class Pair(NamedTuple):
    """A certificate with those between it and its authority, and its key."""

    certificate: Path
    key: Path


class Authority:
    """A certification authority, and what it has signed.

    Parameters
    ----------
    folder : Path
        Where its files are; created if missing.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.ca = folder, trustme.CA()
        self.file = folder / "authority.pem"
        self.ca.cert_pem.write_to_path(str(self.file))

    def issue(self, name: str, *identities: str, **dates: Any) -> Pair:
        """Sign a certificate, for ``localhost`` and 127.0.0.1 unless told otherwise; a second of one name replaces it."""
        made = self.ca.issue_cert(*(identities or ("localhost", "127.0.0.1")), **dates)
        pair = Pair(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        pair.certificate.write_bytes(b"".join(pem.bytes() for pem in made.cert_chain_pems))
        pair.key.touch(0o600)
        pair.key.write_bytes(made.private_key_pem.bytes())
        return pair

    def listen(self, pair: Pair, **more: Any) -> ListenTLS:
        """How a node listens with a certificate."""
        return ListenTLS(certificate=pair.certificate, key=pair.key, trusted=self.file, **more)

    def destination(self, pair: Pair | None = None, **more: Any) -> DestinationTLS:
        """How a node calls a peer whose certificate this authority has signed."""
        own = {"certificate": pair.certificate, "key": pair.key} if pair else {}
        return DestinationTLS(trusted=self.file, **own, **more)

    def client(self, pair: Pair | None = None) -> ssl.SSLContext:
        """A caller of the node, with a certificate or none."""
        context = ssl.create_default_context(cafile=str(self.file))
        if pair:
            context.load_cert_chain(*pair)
        return context

    def server(self, pair: Pair, asks: bool = True) -> ssl.SSLContext:
        """A peer that the node calls, and whether it asks for a certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*pair)
        context.load_verify_locations(self.file)
        context.verify_mode = ssl.CERT_REQUIRED if asks else ssl.CERT_NONE
        return context
