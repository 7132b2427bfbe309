"""Who may call the node, under which title and from where; whom it knows."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from node.door import verdict
from node.door.request import APPLICATION_CONTEXT_NAME, AssociationRequest
from node.door.verdict import Rejection

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Peer:
    """Who asks for an association.

    Parameters
    ----------
    address : str
    calling : str
        Calling AE title.
    is_known : bool
        Whether the configuration names it, so that places are kept for it.
    """

    address: str
    calling: str
    is_known: bool

    @property
    def account(self) -> tuple[str, str]:
        """Whose limit its associations count against: titles that nobody knows are free to invent, addresses are not."""
        return self.address, self.calling if self.is_known else ""


class Callers:
    """The rules of the configuration.

    Parameters
    ----------
    ae_title : str
        The node's own AE title.
    allowed : collection of str
        Calling AE titles that may call; empty: all.
    addresses : mapping of str to sequence of networks
        Where the callers of these titles must call from.
    known : collection of str
        AE titles that are known besides those of `allowed` and `addresses`.
    """

    def __init__(
        self,
        ae_title: str,
        allowed: Collection[str] = (),
        addresses: Mapping[str, Sequence[Network]] | None = None,
        known: Collection[str] = (),
    ) -> None:
        self._ae_title = ae_title
        self._allowed, self._addresses = frozenset(allowed), dict(addresses or {})
        self._known = frozenset((*allowed, *self._addresses, *known))

    @property
    def knows_any(self) -> bool:
        """Whether there is anybody to keep places for."""
        return bool(self._known)

    def peer(self, request: AssociationRequest, address: str) -> Peer:
        """Return who asks."""
        return Peer(plain(address), request.calling, request.calling in self._known)

    def rejection(self, request: AssociationRequest, address: str) -> Rejection | None:
        """Return why a request is rejected, None where it may have its association.

        Parameters
        ----------
        request : AssociationRequest
        address : str
            The IP address it came from.

        References
        ----------
        DICOM PS3.8 9.3.4.
        """
        if not request.protocol_version & 1:
            return verdict.PROTOCOL_VERSION
        if request.application_context != APPLICATION_CONTEXT_NAME:
            return verdict.APPLICATION_CONTEXT
        if request.called != self._ae_title:
            return verdict.CALLED_AE_TITLE
        if not request.calling or not self._may_call(request.calling, plain(address)):
            return verdict.CALLING_AE_TITLE
        return None

    def _may_call(self, calling: str, address: str) -> bool:
        if self._allowed and calling not in self._allowed:
            return False
        networks = self._addresses.get(calling)
        return networks is None or any(ipaddress.ip_address(address) in network for network in networks)


@lru_cache(maxsize=1024)  # each association asks for the same one three times
def plain(address: str) -> str:
    """Return an IP address without a zone, and an IPv4 address that came over IPv6 as what it is (RFC 4291 2.5.5.2)."""
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or found)
