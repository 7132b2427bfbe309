"""A message as JSON, posted to a configured address and to no other.

The server's certificate is verified, redirects are not followed, and proxies of the environment are not used. With a
secret, ``X-CXR-Signature`` is ``sha256=`` and the HMAC-SHA256 (RFC 2104), in hexadecimal digits, of ``X-CXR-Timestamp``
(seconds of the Unix epoch), a full stop, and the body. ``Idempotency-Key`` is the message's ``id``, the same each time.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from node import __version__
from node.config_notify import Webhook
from node.notices import Form
from node.notify.way import TIMEOUT_S, NotSent, context, secret, why

_SECTION = "notify.webhook"


class WebhookWay:
    """Posts messages to one address.

    Parameters
    ----------
    webhook : Webhook
    """

    def __init__(self, webhook: Webhook) -> None:
        self._webhook = webhook

    def check(self) -> None:
        """Look at its files.

        Raises
        ------
        ConfigError
            When the secret or the authorities cannot be used.
        """
        if self._webhook.secret_file:
            secret(f"{_SECTION}.secret_file", self._webhook.secret_file)
        if self._webhook.url.startswith("https:"):
            context(_SECTION, self._webhook.trusted)

    def send(self, message: Form) -> None:
        """Post a message; taken is what is answered with 2xx.

        Raises
        ------
        NotSent, ConfigError
        """
        body = json.dumps(message).encode()
        parts = urlsplit(self._webhook.url)
        path = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
        limits = urllib3.Timeout(connect=TIMEOUT_S, read=TIMEOUT_S)
        with self._pool(parts.scheme, parts.hostname or "", parts.port) as pool:
            try:
                answer = pool.urlopen(
                    "POST",
                    path,
                    body,
                    self._headers(message, body),
                    retries=False,
                    redirect=False,
                    timeout=limits,
                    preload_content=False,
                )
            except HTTPError as error:
                cause = error.__cause__ if isinstance(error.__cause__, OSError) else None
                reason = next((each for each in (*error.args, cause) if isinstance(each, OSError)), error)
                raise NotSent(f"{parts.hostname} was not reached: {why(reason)}") from None
            status = answer.status
            answer.close()
        if not 200 <= status < 300:
            raise NotSent(f"{parts.hostname} answered with status {status}")

    def _pool(self, scheme: str, host: str, port: int | None) -> urllib3.HTTPConnectionPool:
        if scheme == "http":
            return urllib3.HTTPConnectionPool(host, port)
        return urllib3.HTTPSConnectionPool(host, port, ssl_context=context(_SECTION, self._webhook.trusted))

    def _headers(self, message: Form, body: bytes) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"cxr-node/{__version__}",
            "Idempotency-Key": message["id"],
        }
        if self._webhook.secret_file:
            now = str(int(time.time()))
            key = secret(f"{_SECTION}.secret_file", self._webhook.secret_file).encode()
            signature = hmac.new(key, b".".join((now.encode(), body)), hashlib.sha256).hexdigest()
            headers |= {"X-CXR-Timestamp": now, "X-CXR-Signature": f"sha256={signature}"}
        return headers
