"""Audit records reach a syslog receiver, by UDP and by TLS, whole and in order, also one that was away."""

import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

import pytest

from node import audit, log, syslog
from node.config import Audit, Settings
from tests.peers import HOST, Peer, free_port, require_peer, wait_until
from tests.pki import Authority
from tests.test_audit import SYSLOG, event, parsed


class Receiver:
    """A syslog receiver over TLS that takes octet-counted messages (RFC 5425 4.3) and remembers them."""

    def __init__(self, context, port=0):
        self._context, self.messages = context, []
        self._listener = socket.create_server((HOST, port))
        self.port = self._listener.getsockname()[1]
        self._connections = []
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            try:
                plain, _ = self._listener.accept()
                connection = self._context.wrap_socket(plain, server_side=True)
            except ssl.SSLError:
                continue
            except OSError:
                return
            self._connections.append(connection)
            threading.Thread(target=self._read, args=(connection.makefile("rb"),), daemon=True).start()

    def _read(self, stream):
        while True:
            try:
                length = b"".join(iter(lambda: stream.read(1).strip(), b""))
                if not length:
                    return
                self.messages.append(stream.read(int(length)))
            except OSError:
                return

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            with connection, suppress(OSError):  # the sender has hung up
                connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def trail(role="receive", **options):
    with audit.opened(Settings(audit=Audit(**options)), role):
        yield


def test_a_message_has_the_form_of_rfc_5424_and_says_when_where_and_who():
    made = syslog.message(b"<x/>", datetime(2026, 1, 2, 3, 4, 5, 678000, UTC))
    found = SYSLOG.fullmatch(made)
    assert found is not None
    assert found[1] == b"85"  # facility 10, severity 5
    assert made.startswith(b"<85>1 2026-01-02T03:04:05.678Z ")
    assert found[2] == b"<x/>"


def test_a_machine_without_a_name_sends_none(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "")
    assert syslog.host_name() == "-"
    monkeypatch.setattr(socket, "gethostname", lambda: "a b\n")
    assert syslog.host_name() == "ab"


def test_records_come_by_udp_one_a_datagram():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind((HOST, 0))
        receiver.settimeout(30)
        with trail(syslog=f"udp://{HOST}:{receiver.getsockname()[1]}"):
            audit.turned_away("10.1.2.3", "STRANGER", "calling AE title not recognized")
        found = [parsed(receiver.recv(65_536)) for _ in range(3)]
    assert [event(root)[:2] for root, _ in found] == [("110100", "110120"), ("110113", "110126"), ("110100", "110121")]


def test_records_come_by_tls_on_one_connection_with_the_node_s_certificate(tmp_path):
    authority = Authority(tmp_path)
    receiver = Receiver(authority.server(authority.issue("syslog")))
    try:
        tls = authority.destination(authority.issue("node"))
        with trail(syslog=f"tls://{HOST}:{receiver.port}", tls=tls):
            audit.turned_away("10.1.2.3", "STRANGER", "no TLS")
        wait_until(lambda: len(receiver.messages) == 3, 10, "three messages")
        assert [event(parsed(message)[0])[0] for message in receiver.messages] == ["110100", "110113", "110100"]
        assert len(receiver._connections) == 1
    finally:
        receiver.close()


def test_records_wait_for_a_receiver_that_is_away_and_come_in_their_order(tmp_path, monkeypatch):
    monkeypatch.setattr(audit, "LONGEST_PAUSE_S", 0.05)
    authority = Authority(tmp_path)
    port = free_port()
    pair = authority.issue("syslog")
    receiver = None
    try:
        with trail(syslog=f"tls://{HOST}:{port}", tls=authority.destination(authority.issue("node"))):
            for number in range(5):
                audit.turned_away("10.1.2.3", f"STRANGER{number}", "no TLS")
            receiver = Receiver(authority.server(pair), port)
            wait_until(lambda: len(receiver.messages) == 6, 10, "what waited")
        wait_until(lambda: len(receiver.messages) == 7, 10, "the stop")
        titles = [f"STRANGER{number}".encode() for number in range(5)]
        assert [title in message for title, message in zip(titles, receiver.messages[1:], strict=False)] == [True] * 5
    finally:
        if receiver:
            receiver.close()


def test_a_receiver_that_went_and_came_back_is_called_again(tmp_path, monkeypatch):
    monkeypatch.setattr(audit, "LONGEST_PAUSE_S", 0.05)
    authority = Authority(tmp_path)
    pair = authority.issue("syslog")
    first = Receiver(authority.server(pair))
    second = None
    try:
        with trail(syslog=f"tls://{HOST}:{first.port}", tls=authority.destination(authority.issue("node"))):
            wait_until(lambda: first.messages, 10, "the start")
            first.close()
            second = Receiver(authority.server(pair), first.port)
            audit.turned_away("10.1.2.3", "STRANGER", "no TLS")
            wait_until(lambda: second.messages, 10, "the alert")
        wait_until(lambda: len(second.messages) == 2, 10, "the stop")
    finally:
        if second:
            second.close()


def test_a_receiver_of_another_authority_gets_nothing(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(log, "alarm", lambda name, **fields: said.append((name, fields.get("error"))))
    monkeypatch.setattr(audit, "LAST_RECORDS_S", 1.0)
    authority, other = Authority(tmp_path / "one"), Authority(tmp_path / "other")
    receiver = Receiver(other.server(other.issue("syslog"), asks=False))
    try:
        with trail(syslog=f"tls://{HOST}:{receiver.port}", tls=authority.destination()):
            wait_until(lambda: ("audit.failed", "SSLCertVerificationError") in said, 10, "the alarm")
        assert receiver.messages == []
        assert "audit.lost" in {name for name, _ in said}
    finally:
        receiver.close()


class Rsyslog(Peer):
    """Debian's rsyslog, which takes messages by UDP and by TLS and writes each as it came."""

    name = "rsyslog"

    def __init__(self, folder, authority):
        super().__init__(folder)
        self.tls_port, self.written = free_port(), folder / "written"
        pair = authority.issue("rsyslog")
        (folder / "rsyslog.conf").write_text(
            f"""
            global(workDirectory="{folder}" maxMessageSize="64k" defaultNetstreamDriver="gtls"
                   defaultNetstreamDriverCAFile="{authority.file}" defaultNetstreamDriverCertFile="{pair.certificate}"
                   defaultNetstreamDriverKeyFile="{pair.key}")
            module(load="imudp")
            module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="x509/certvalid")
            template(name="plain" type="list") {{
              property(name="app-name") constant(value=" ") property(name="msgid") constant(value=" ")
              property(name="pri") constant(value=" ") property(name="msg") constant(value="\\n") }}
            input(type="imudp" address="{HOST}" port="{self.port}")
            input(type="imtcp" address="{HOST}" port="{self.tls_port}")
            action(type="omfile" file="{self.written}" template="plain")
            """
        )

    def command(self):
        program = require_peer("/usr/sbin/rsyslogd")
        return [program, "-n", "-f", str(self.folder / "rsyslog.conf"), "-i", str(self.folder / "pid")]

    def ready(self):
        with socket.socket() as probe:
            return probe.connect_ex((HOST, self.tls_port)) == 0

    def lines(self):
        return self.written.read_text("utf-8").splitlines() if self.written.exists() else []


@pytest.mark.peers
@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["udp", "tls"])
def test_rsyslog_understands_what_is_sent(tmp_path, scheme):
    authority = Authority(tmp_path)
    with Rsyslog(tmp_path, authority) as receiver:
        options = {"syslog": f"udp://{HOST}:{receiver.port}"}
        if scheme == "tls":
            pair = authority.issue("node")
            options = {"syslog": f"tls://{HOST}:{receiver.tls_port}", "tls": authority.destination(pair)}
        with trail(**options):
            audit.turned_away("10.1.2.3", "STRANGER", "no TLS")
        wait_until(lambda: len(receiver.lines()) == 3, 10, "three lines")
    head = "cxr-node DICOM+RFC3881 "
    assert [line.removeprefix(head)[:3].strip() for line in receiver.lines()] == ["85", "84", "85"]
    assert all("<AuditMessage><EventIdentification" in line for line in receiver.lines())
