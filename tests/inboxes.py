"""Those who are told, as real servers on the loopback interface: HTTP, mail and MLLP servers that keep what they get."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

import hl7
import hl7.mllp
import uvicorn
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.peers import HOST, free_port, wait_until
from tests.pki import Pair


@dataclass
class Hook:
    """An HTTP server that keeps what is posted to it, and answers as it is told to."""

    port: int
    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    def url(self, scheme: str = "http", host: str = HOST) -> str:
        return f"{scheme}://{host}:{self.port}/hooks/cxr?room=1"

    async def answer(self, request: Request) -> Response:
        self.requests.append((request.url.path, dict(request.headers), await request.body()))
        time.sleep(self.delay_s)  # it hangs
        return Response(status_code=self.status, headers=self.headers)


@contextmanager
def hook(pair: Pair | None = None, port: int = 0, **options: Any) -> Iterator[Hook]:
    """Run an HTTP server, with a certificate by TLS."""
    kept = Hook(port or free_port(), **options)
    files = {"ssl_certfile": str(pair.certificate), "ssl_keyfile": str(pair.key)} if pair else {}
    app = Starlette(routes=[Route("/{path:path}", kept.answer, methods=["GET", "POST"])])
    server = uvicorn.Server(uvicorn.Config(app, HOST, kept.port, log_config=None, lifespan="off", **files))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started, what="the HTTP server")
    yield kept
    server.should_exit = server.force_exit = True
    thread.join(5)


@dataclass
class Mailbox:
    """A mail server that keeps what it takes."""

    port: int
    refuse: str = ""
    refuse_recipient: str = ""
    mails: list[tuple[str, list[str], EmailMessage]] = field(default_factory=list)
    logins: list[tuple[bytes, bytes]] = field(default_factory=list)

    async def handle_RCPT(self, _: Any, __: Any, envelope: Any, address: str, ___: Any) -> str:  # noqa: N802
        if address == self.refuse_recipient:
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _: Any, __: Any, envelope: Any) -> str:  # noqa: N802
        if self.refuse:
            return self.refuse
        mail = message_from_bytes(envelope.content, policy=default)
        self.mails.append((envelope.mail_from, envelope.rcpt_tos, mail))
        return "250 taken"

    def login(self, _: Any, __: Any, ___: Any, ____: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login, data.password))
        return AuthResult(success=data.password == b"open sesame")


@contextmanager
def mailbox(pair: Pair | None = None, security: str = "off", auth: bool = False) -> Iterator[Mailbox]:
    """Run a mail server: in the clear, or with a certificate by STARTTLS or by TLS from the start."""
    kept = Mailbox(free_port())
    context = None
    if pair:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*pair)
    options: dict[str, Any] = {"ssl_context": context} if security == "tls" else {}
    if security == "starttls":
        options = {"tls_context": context, "require_starttls": True}
    if auth:
        options |= {"auth_required": True, "authenticator": kept.login, "auth_require_tls": security == "starttls"}
    controller = Controller(kept, HOST, kept.port, **options)
    controller.start()
    yield kept
    controller.stop()


@dataclass
class Engine:
    """An interface engine that keeps the HL7 messages it takes by MLLP."""

    port: int
    code: str = "AA"
    about: str = ""
    messages: list[hl7.Message] = field(default_factory=list)

    async def serve(self, reader: Any, writer: Any) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while not writer.is_closing():
                message = await reader.readmessage()
                self.messages.append(message)
                ack = message.create_ack(self.code)
                if self.about:
                    ack.segment("MSA")[2] = self.about
                writer.writemessage(ack)
                await writer.drain()


@contextmanager
def engine(context: ssl.SSLContext | None = None) -> Iterator[Engine]:
    """Run an MLLP server, with a certificate by TLS."""
    kept, loop = Engine(free_port()), asyncio.new_event_loop()

    async def start() -> None:
        await hl7.mllp.start_hl7_server(kept.serve, host=HOST, port=kept.port, ssl=context, encoding="utf-8")

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    yield kept
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)


@contextmanager
def silence() -> Iterator[int]:
    """Listen, and never say a word; gives the port."""
    with socket.create_server((HOST, 0)) as listener:
        yield listener.getsockname()[1]
