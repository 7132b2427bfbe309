"""Results by TLS: to whom the node speaks and to whom it does not, in words that say what to do, and the clock acts next."""

import socket
import ssl
import threading
import time

import pytest
import typer
import yaml
from pynetdicom import AE, Association, build_context, evt
from pynetdicom.dimse_primitives import C_ECHO
from pynetdicom.sop_class import Verification
from pynetdicom.transport import AddressInformation

from node import association, cli, requestor
from node.association import Peer, RequestedAssociation
from node.config import Destination
from node.deliver import StorageSCU
from node.errors import TryAgain
from node.requestor import TransportConnection
from node.send import send
from node.tls.contexts import of_destination, of_itself
from tests.doors import opened
from tests.peers import wait_until
from tests.pki import EXPIRED, Authority
from tests.radiographs import radiograph, write_file
from tests.scp import HOST, instance, raw_server, storage_scp, write, write_picture

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("other"))


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = threading.active_count()
    yield
    wait_until(lambda: threading.active_count() <= before, 20, "the end of all threads")


def destination(port, tls=None, host=HOST):
    return Destination(name="pacs", ae_title="PACS", host=host, port=port, tls=tls)


def scu_of(port, tls=None, **more):
    return StorageSCU(destination(port, tls, **more), "CXRTRIAGE")


def trouble(port, tls=None):
    """What is said of a destination that cannot be spoken to."""
    with scu_of(port, tls) as scu, pytest.raises(TryAgain) as raised:
        scu.echo()
    start = f"destination 'pacs' (PACS at {HOST}:{port}) "
    assert str(raised.value).startswith(start)
    return str(raised.value).removeprefix(start)


def of_version(context, version):
    context.minimum_version = context.maximum_version = version
    return context


@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
def test_results_are_stored_by_tls(tmp_path, pki, version):
    server = of_version(pki.server(pki.issue("pacs")), version)
    paths = [write(instance(), tmp_path / "report.dcm"), write_picture(tmp_path / "picture.dcm", side_px=600)]
    with storage_scp(tls=server) as scp, scu_of(scp.port, pki.destination(pki.issue("node"))) as scu:
        assert [scu.store([path]).status.code for path in paths] == [0x0000, 0x0000]
        assert scp.associations[0].dul.socket.socket.version() == version.name.replace("_", ".")
        assert len(scp.associations) == 1
    assert len(scp.received[1].data_set) > 3 * 600 * 600


def test_a_destination_that_asks_for_no_certificate_gets_none(pki):
    with storage_scp(tls=pki.server(pki.issue("pacs"), asks=False)) as scp, scu_of(scp.port, pki.destination()) as scu:
        assert scu.echo() > 0
        assert not scp.associations[0].dul.socket.socket.getpeercert()


def test_a_destination_in_the_clear_is_not_spoken_to_where_tls_is_wanted(tmp_path, pki):
    with opened(tmp_path / "spool") as clear:
        said = trouble(clear.port, pki.destination())
        assert clear.count("established") == 0
    assert said == "does not speak TLS on this port. Set its port for TLS, or tls to off."


def test_a_destination_that_wants_tls_may_be_the_reason_why_it_hangs_up(pki):
    with storage_scp(tls=pki.server(pki.issue("pacs"))) as scp:
        assert "whether it wants TLS" in trouble(scp.port)


def test_a_certificate_of_an_unknown_authority_is_not_trusted(pki, other):
    with storage_scp(tls=pki.server(pki.issue("pacs"))) as scp:
        said = trouble(scp.port, other.destination())
    assert said == ("has a certificate of no trusted authority. Put its authority's certificate into tls.trusted.")


def test_an_expired_certificate_is_not_trusted(pki):
    with storage_scp(tls=pki.server(pki.issue("old pacs", **EXPIRED))) as scp:
        assert trouble(scp.port, pki.destination()) == "has a certificate that has expired. Have it renewed there."


def test_a_certificate_for_another_name_is_not_trusted_unless_the_configuration_says_so(pki):
    with storage_scp(tls=pki.server(pki.issue("named", "pacs.example"), asks=False)) as scp:
        said = trouble(scp.port, pki.destination())
        assert said == (f"has a certificate that is not for {HOST}. Set tls.server_name to the name that it is for.")
        assert "not for other.example" in trouble(scp.port, pki.destination(server_name="other.example"))
        for more in ({"server_name": "pacs.example"}, {"check_name": False}):
            with scu_of(scp.port, pki.destination(**more)) as scu:
                assert scu.echo() > 0


@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
@pytest.mark.parametrize(("shown", "words"), [("none", "certificate required"), ("foreign", "unknown authority")])
def test_a_destination_that_does_not_take_the_nodes_certificate_is_said_to(pki, other, version, shown, words):
    """In TLS 1.3 the node learns of it only after its own handshake was over."""
    own = pki.destination()
    if shown == "foreign":
        foreign = other.issue("node")
        own = own.model_copy(update={"certificate": foreign.certificate, "key": foreign.key})
    with storage_scp(tls=of_version(pki.server(pki.issue("pacs")), version)) as scp:
        said = trouble(scp.port, own)
    if version is ssl.TLSVersion.TLSv1_2 and shown == "none":  # which has no alert of that meaning
        assert said.startswith("shares no TLS cipher with this node, or wants a certificate.")
    else:
        assert said.startswith(f"does not take this node's certificate: {words}.")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_tls_is_not_spoken(pki):
    old = pki.server(pki.issue("pacs"))
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with storage_scp(tls=old) as scp:
        assert trouble(scp.port, pki.destination()) == "offers no TLS 1.2 or newer. Update or configure it."


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x03"])
def test_a_handshake_is_not_waited_for_without_end(pki, monkeypatch, sent):
    monkeypatch.setattr(association, "CONNECTION_TIMEOUT_S", 0.5)

    def trickle(connection):
        try:
            connection.sendall(sent)
            for _ in range(100):
                time.sleep(0.1)
                connection.sendall(sent[:1])
        except OSError:
            pass

    with raw_server(trickle) as port:
        assert "no answer" in trouble(port, pki.destination())


def test_a_peer_that_hangs_up_in_the_handshake_is_said_to(pki):
    with raw_server(lambda connection: connection.recv(10) and connection.shutdown(socket.SHUT_RDWR)) as port:
        assert trouble(port, pki.destination()).startswith("ended the TLS handshake")


def test_a_new_certificate_is_shown_to_the_destination_without_a_restart(pki):
    shown, node = [], pki.issue("node")
    handlers = [(evt.EVT_ESTABLISHED, lambda event: shown.append(event.assoc.dul.socket.socket.getpeercert()))]
    server = pki.server(pki.issue("pacs"))
    with storage_scp(handlers=handlers, tls=server) as scp, scu_of(scp.port, pki.destination(node)) as scu:
        scu.echo()
        pki.issue("node")
        scu.echo()
        assert len(shown) == 1  # the association goes on
        scu.close()
        scu.echo()
        assert shown[0]["serialNumber"] != shown[1]["serialNumber"]


def test_a_file_with_a_node_that_listens_by_tls_can_be_sent_to_itself(tmp_path, pki):
    tls = pki.listen(pki.issue("itself", "nowhere.example"))
    film = write_file(tmp_path / "film.dcm", radiograph())
    with opened(tmp_path / "spool", None, (tls, pki.client())) as door:
        (result,) = send([film], HOST, door.port, "CXRTRIAGE", "CXRSEND", tls=of_itself(tls, HOST))
        assert result.stored


def test_the_verb_send_goes_by_tls_to_a_node_that_listens_so(tmp_path, pki, capsys):
    tls = pki.listen(pki.issue("itself", "nowhere.example"))
    film = write_file(tmp_path / "film.dcm", radiograph())
    with opened(tmp_path / "spool", None, (tls, pki.client())) as door:
        files = {name: str(getattr(tls, name)) for name in ("certificate", "key", "trusted")}
        (tmp_path / "node.yaml").write_text(yaml.safe_dump({"listen": {"port": door.port, "tls": files}}))
        with pytest.raises(typer.Exit) as ended:
            cli.send([film], config=tmp_path / "node.yaml")
        assert ended.value.exit_code == 0
        assert door.count("cut") == {}
    assert ": success\n" in capsys.readouterr().out


# Records and PDUs


def connected_to(port, pki):
    connection = TransportConnection(Association(AE(), "requestor"), address=AddressInformation(HOST, 0))
    credentials = of_destination(destination(port, pki.destination()))
    connection.tls_args = credentials.context(), credentials.server_name
    connection.assoc.connection_timeout = 20
    connection._open((HOST, port))
    return connection


@pytest.fixture
def connected(pki):
    """Run a TLS server that sends what it is told to, each in one record; gives a connection to it, and how to send."""
    accepted = []
    server = pki.server(pki.issue("pacs"), asks=False)
    with raw_server(lambda plain: accepted.append(server.wrap_socket(plain, server_side=True))) as port:
        connection = connected_to(port, pki)
        wait_until(lambda: accepted)
        yield connection, accepted[0]
        connection.close()
        accepted[0].close()


def test_a_record_that_holds_nothing_for_us_is_not_waited_on(connected):
    """A server of TLS 1.3 sends session tickets by itself: poll says that there is something to read."""
    connection, server = connected
    time.sleep(0.05)
    assert connection.ready is False
    server.sendall(b"abcdef")
    wait_until(lambda: connection.ready)
    assert connection.recv(6) == b"abcdef"
    assert connection.ready is False


def test_what_lies_decrypted_already_is_not_waited_for(connected):
    connection, server = connected
    server.sendall(b"abcdef123456")
    wait_until(lambda: connection.ready)
    assert connection.recv(6) == b"abcdef"
    assert connection.ready is True
    assert connection.recv(6) == b"123456"
    assert connection.ready is False


def test_the_end_of_the_connection_can_be_read(connected):
    connection, server = connected
    server.shutdown(socket.SHUT_RDWR)
    wait_until(lambda: connection.ready)
    assert connection.recv(6) == b""


def test_a_peer_that_reads_a_long_message_slowly_has_not_stopped_reading(pki, monkeypatch):
    # All of it takes longer than a PDU may; of what is given to TLS at once, each takes a thirtieth of that.
    timeout_s, message = 2.0, bytes(4_000_000)
    monkeypatch.setattr(requestor, "PDU_TIMEOUT_S", timeout_s)
    read, server = [], pki.server(pki.issue("pacs"), asks=False)

    def read_slowly(plain):
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 131_072)
        connection = server.wrap_socket(plain, server_side=True)
        while part := connection.recv(16_384):
            read.append(len(part))
            time.sleep(0.015)

    with raw_server(read_slowly) as port:
        connection = connected_to(port, pki)
        began = time.monotonic()
        connection.send(message)
        took_s, stalled = time.monotonic() - began, connection.stalled
        wait_until(lambda: stalled or sum(read) == len(message))
        connection.close()
    assert took_s > timeout_s
    assert not stalled


def test_an_association_by_tls_is_cut_from_any_thread(pki):
    with storage_scp(tls=pki.server(pki.issue("pacs"), asks=False)) as scp:
        tls = of_destination(destination(scp.port, pki.destination()))
        standing = RequestedAssociation(Peer("pacs", "PACS", HOST, scp.port, "X", tls), [build_context(Verification)])
        request = C_ECHO()
        request.AffectedSOPClassUID = Verification
        assert standing.ask(request, 1).Status == 0x0000
        standing.abort()
        assert not standing.is_established
