"""The port with TLS: whoever does not prove who it is is refused at once, counted with a reason, and keeps nobody out."""

import json
import os
import socket
import ssl
import subprocess

import pytest
from pynetdicom import build_role
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from node import log
from node.tls import contexts
from tests.doors import held, is_given_back, opened
from tests.peers import require_peer, wait_until
from tests.pki import EXPIRED, NOT_YET, Authority
from tests.radiographs import encoded, radiograph
from tests.raw import HOST, P_DATA, Closed, Raw, pdu, request
from tests.senders import EXPLICIT, associated
from tests.senders import request as associate
from tests.test_receive_reports import event_information

pytestmark = [
    pytest.mark.usefixtures("all_threads_end"),
    pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning"),
]
QUICK = {"request_s": 2.0, "place_s": 0.4, "linger_s": 0.5}
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("other"))


@pytest.fixture
def door(tmp_path, pki):
    with opened(tmp_path / "spool", QUICK, (pki.listen(pki.issue("node")), pki.client(pki.issue("caller")))) as running:
        yield running


@pytest.fixture
def lines(tmp_path, monkeypatch):
    """Log to a file; gives the events of a name."""
    file = tmp_path / "log"
    monkeypatch.setenv(log.FILE, str(file))
    log.open_log("receive")

    def named(*names):
        found = [json.loads(line) for line in file.read_text().splitlines()]
        return [line for line in found if line["event"] in names]

    return named


def of_version(context, version):
    context.minimum_version = context.maximum_version = version
    return context


def is_refused(door, context):
    """Whether a caller that goes by a context gets no answer to its request."""
    try:
        with Raw(door.port, context) as caller:
            caller.send(request()).answer()
    except (Closed, OSError):
        return True
    return False


# Who gets in


@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
def test_a_caller_with_a_certificate_of_a_trusted_authority_is_served(door, pki, version):
    dataset = radiograph(side_px=600)
    with Raw(door.port, of_version(pki.client(pki.issue("caller")), version)) as caller:
        assert caller.socket.version() == version.name.replace("_", ".")
        assert caller.associate().store(encoded(dataset), dataset.SOPInstanceUID) == 0x0000
    assert door.count("cut") == {}


def test_a_caller_whose_own_certificate_is_trusted_is_served(tmp_path, pki):
    caller = pki.issue("pinned")
    tls = pki.listen(pki.issue("node")).model_copy(update={"trusted": caller.certificate})
    with opened(tmp_path / "spool", QUICK, (tls, pki.client(caller))) as door:
        assert door.lives()
        assert is_refused(door, pki.client(pki.issue("sibling")))
        door.comes_to_count("cut", {"client certificate of no trusted authority": 1})


def test_a_caller_needs_no_certificate_where_the_configuration_says_so(tmp_path, pki):
    tls = pki.listen(pki.issue("node"), client_certificate=False)
    with opened(tmp_path / "spool", QUICK, (tls, pki.client())) as door:
        assert door.lives()


def test_the_caller_learns_whom_it_called(door, pki):
    with door.caller() as caller:
        assert ("DNS", "localhost") in caller.socket.getpeercert()["subjectAltName"]


# Who does not


def test_a_caller_in_the_clear_is_refused_at_once_and_costs_nothing(door):
    assert door.lives()
    door.comes_to_rest()
    before = held()
    for sent in (request(), b"\1", b"GET / HTTP/1.1\r\n\r\n", bytes(70_000)):
        with Raw(door.port) as caller:
            assert caller.is_cut_while_sending([sent]) or caller.is_closed()
    door.comes_to_rest()
    door.comes_to_count("cut", {"no TLS": 4})
    wait_until(lambda: is_given_back(before))
    assert door.lives()


@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
@pytest.mark.parametrize(
    ("name", "dates", "reason"),
    [
        ("", {}, "no client certificate"),
        ("expired", EXPIRED, "client certificate has expired"),
        ("future", NOT_YET, "client certificate is not valid yet"),
        ("foreign", None, "client certificate of no trusted authority"),
    ],
)
def test_a_caller_without_a_certificate_that_holds_is_refused_with_the_reason(
    door, pki, other, lines, version, name, dates, reason
):
    pair = None if not name else other.issue(name) if dates is None else pki.issue(name, **dates)
    assert is_refused(door, of_version(pki.client(pair), version))
    door.comes_to_count("cut", {reason: 1})
    assert door.count("established") == 0
    (line,) = lines("connection.cut")
    assert (line["reason"], line["address"]) == (reason, HOST)
    assert "withheld" not in line
    assert not {"localhost", "trustme"} & set(str(line).split())
    assert door.lives()


def test_a_caller_learns_by_an_alert_why_it_is_refused(door, pki):
    context = of_version(pki.client(), ssl.TLSVersion.TLSv1_3)
    with Raw(door.port, context) as caller, pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"):
        caller.send(request()).socket.recv(1)


def test_a_caller_that_does_not_trust_the_node_is_told_from_one_that_is_not_trusted(door, other):
    assert is_refused(door, other.client())
    wait_until(lambda: door.count("cut") == {"caller does not take the node's certificate": 1})


@pytest.mark.parametrize("version", ["tls1", "tls1_1"])
def test_old_tls_is_refused(door, pki, version):
    caller = pki.issue("caller")
    command_line = [require_peer("openssl"), "s_client", f"-{version}", "-connect", f"{HOST}:{door.port}", "-cert"]
    command_line += [str(caller.certificate), "-key", str(caller.key), "-cipher", "ALL:@SECLEVEL=0"]
    done = subprocess.run(command_line, input=b"", capture_output=True, timeout=30, check=False)
    assert done.returncode != 0
    wait_until(lambda: door.count("cut") == {"TLS older than 1.2": 1})
    assert door.lives()


@pytest.mark.parametrize("cipher", ["AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES256-SHA384"])
def test_suites_without_forward_secrecy_or_authenticated_encryption_are_refused(door, pki, cipher):
    context = of_version(pki.client(pki.issue("caller")), ssl.TLSVersion.TLSv1_2)
    context.set_ciphers(cipher)
    assert is_refused(door, context)
    wait_until(lambda: door.count("cut") == {"no TLS cipher in common": 1})


def test_a_renegotiation_is_refused(door, pki):
    caller = pki.issue("caller")
    command_line = [require_peer("openssl"), "s_client", "-tls1_2", "-connect", f"{HOST}:{door.port}", "-cert"]
    command_line += [str(caller.certificate), "-key", str(caller.key)]
    # A line of R has s_client renegotiate; what comes before the association request is answered by an alert.
    done = subprocess.run(command_line, input=b"R\n", capture_output=True, timeout=30, check=False)
    assert b"RENEGOTIATING" in done.stdout + done.stderr
    assert b"no renegotiation" in done.stderr
    assert door.lives()


def test_no_session_of_tls_1_3_is_taken_up_again(door, pki):
    context = of_version(pki.client(pki.issue("caller")), ssl.TLSVersion.TLSv1_3)
    with Raw(door.port, context) as caller:
        assert caller.associate().echo() == 0x0000
        assert not caller.socket.session.has_ticket


def come_and_go(door):
    """Have an association, and say farewell in TLS too: OpenSSL forgets the session of who just hangs up."""
    with door.caller() as caller:
        assert caller.associate().echo() == 0x0000
        caller.socket.unwrap().close()


def test_sessions_of_tls_1_2_do_not_pile_up(tmp_path, pki, monkeypatch):
    monkeypatch.setattr(contexts, "SESSIONS_KEPT", 2)
    node = pki.issue("many")
    client = of_version(pki.client(pki.issue("caller")), ssl.TLSVersion.TLSv1_2)
    with opened(tmp_path / "spool", QUICK, (pki.listen(node), client)) as door:
        used = []
        for _ in range(8):
            come_and_go(door)
            used.append(door.receiver._tls._context)
        assert 2 <= len(set(used)) <= 4
        assert max(context.session_stats()["number"] for context in used) == 3
        pki.issue("many", **EXPIRED)
        for _ in range(5):
            come_and_go(door)
        assert door.receiver._tls.context() is used[-1]  # an expired file is not taken up by this way either


# Half a handshake


def hello(door, context):
    """The first bytes of a client's handshake."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("bytes_sent", [1, 5, 100, None])
def test_a_handshake_that_stops_anywhere_is_cut_at_the_deadline(tmp_path, pki, bytes_sent):
    client = pki.client(pki.issue("caller"))
    with opened(tmp_path / "spool", {"request_s": 0.4}, (pki.listen(pki.issue("node")), client)) as door:
        with Raw(door.port) as caller:
            caller.send(hello(door, client)[:bytes_sent])
            while caller.socket.recv(65_536):  # of a whole hello, the node's answer
                pass
        door.comes_to_count("cut", {"no TLS handshake in time": 1})


def test_a_handshake_that_comes_byte_by_byte_is_cut_at_the_same_deadline(tmp_path, pki):
    client = pki.client(pki.issue("caller"))
    with opened(tmp_path / "spool", {"request_s": 0.4}, (pki.listen(pki.issue("node")), client)) as door:
        with Raw(door.port) as caller:
            assert caller.is_cut_while_sending((bytes([each]) for each in hello(door, client)), pause_s=0.01)
        door.comes_to_count("cut", {"no TLS handshake in time": 1})


def test_a_handshake_of_noise_is_refused(door):
    for noise in (b"\x16" + os.urandom(2_000), b"\x16\x03\x01\x40\x00" + bytes(16_384), b"\x16\x03\x01\x00\x00" * 100):
        with Raw(door.port) as caller:
            assert caller.is_cut_while_sending([noise]) or drained(caller)
    wait_until(lambda: sum(door.count("cut").values()) == 3)
    assert door.lives()


def drained(caller):
    """Read what comes, to the end."""
    try:
        while caller.socket.recv(65_536):
            pass
    except ConnectionError:
        pass
    return True


def test_a_monitor_that_only_connects_is_no_failed_handshake(door):
    for _ in range(5):
        Raw(door.port).socket.close()
    door.comes_to_rest()
    assert door.count("cut") == {}


def test_a_caller_that_goes_in_the_middle_of_a_handshake_leaves_nothing(door, pki):
    assert door.lives()
    door.comes_to_rest()
    before = held()
    for _ in range(20):
        with Raw(door.port) as caller:
            caller.send(hello(door, pki.client()))
            caller.socket.shutdown(socket.SHUT_WR)
            assert drained(caller)
    door.comes_to_rest()
    door.comes_to_count("cut", {"caller ended the TLS handshake": 20})
    wait_until(lambda: is_given_back(before))


# The guards of the door, behind TLS


def test_the_guards_of_an_association_hold_behind_tls(tmp_path, pki):
    limits = {"rate_bytes_s": 100_000, "rate_window_s": 0.3, "request_s": 5.0}
    tls = pki.listen(pki.issue("node")), pki.client(pki.issue("caller"))
    with opened(tmp_path / "spool", limits, tls) as door:
        with door.caller() as caller:  # a length that is a lie
            assert caller.associate().send(pdu(P_DATA, b"", 0xFFFFFFFF)).is_aborted() == (2, 0)
        with door.caller() as caller:  # a trickle
            assert caller.associate().is_cut_while_sending([pdu(P_DATA, bytes(9), 100_000), *[b"\0"] * 200], 0.02)
        with door.caller() as caller:  # a request that is too long
            assert caller.send(pdu(1, b"", 0xFFFFFFFF)).is_aborted() == (2, 6)
        door.comes_to_count("violations", {"PDU too long": 1, "too slow": 1, "malformed association request": 1})


def test_a_silent_association_makes_way_behind_tls(tmp_path, pki):
    tls = pki.listen(pki.issue("node")), pki.client(pki.issue("caller"))
    with opened(tmp_path / "spool", {"mute_s": 0.1, "place_s": 20}, tls, associations=1) as door:
        mute = door.caller().associate()
        with door.caller() as caller:
            assert caller.associate().echo() == 0x0000
        assert mute.is_aborted() == (2, 0)
        door.comes_to_count("evicted", 1)
        mute.socket.close()


def test_the_end_of_an_association_is_the_end_of_tls_too(door):
    """Without its close_notify, an end could be an attacker's (RFC 8446 6.1)."""
    with door.caller() as caller:
        caller.socket.suppress_ragged_eofs = False
        assert caller.associate().send(pdu(5, bytes(4))).answer()[0] == 6
        assert caller.socket.unwrap().fileno() > 0


def test_a_commitment_report_comes_over_tls_or_not_at_all(door):
    roles = [build_role(StorageCommitmentPushModel, scp_role=True)]
    proposed = [(StorageCommitmentPushModel, EXPLICIT)]
    with associated(door.port, proposed, ext_neg=roles, tls_args=(door.tls, "localhost")) as association:
        instance = StorageCommitmentPushModelInstance
        status, _ = association.send_n_event_report(event_information(), 1, StorageCommitmentPushModel, instance)
        assert status.Status == 0x0000
    assert not associate(door.port, proposed, ext_neg=roles).is_established
    door.comes_to_count("cut", {"no TLS": 1})


# Renewal


def serial(caller):
    """Which certificate the node has shown."""
    return caller.socket.getpeercert()["serialNumber"]


def test_a_new_certificate_is_taken_up_by_the_next_caller_and_the_association_goes_on(tmp_path, pki, lines):
    node, caller = pki.issue("renewed"), pki.issue("caller")
    with opened(tmp_path / "spool", QUICK, (pki.listen(node), pki.client(caller))) as door:
        standing = door.caller().associate()
        pki.issue("renewed")
        with door.caller() as fresh:
            assert serial(fresh.associate()) != serial(standing)
        assert standing.echo() == 0x0000
        standing.socket.close()
    assert [line["kind"] for line in lines("certificate.renewed")] == ["listen.tls"]


@pytest.mark.parametrize("spoil", ["half", "gone", "mismatched", "expired", "open to all"])
def test_a_new_file_that_cannot_be_used_leaves_the_old_one_and_is_said_once(tmp_path, pki, lines, spoil):
    node = pki.issue(f"spoiled {spoil}")
    with opened(tmp_path / "spool", QUICK, (pki.listen(node), pki.client(pki.issue("caller")))) as door:
        assert door.lives()
        if spoil == "half":
            node.certificate.write_bytes(node.certificate.read_bytes()[:200])
        elif spoil == "gone":
            node.certificate.unlink()
        elif spoil == "mismatched":
            node.certificate.write_bytes(pki.issue("caller").certificate.read_bytes())
        elif spoil == "expired":
            pki.issue(f"spoiled {spoil}", **EXPIRED)
        else:
            node.key.chmod(0o644)
        assert all(door.lives() for _ in range(3))
        (alarm,) = lines("certificate.refused")
        assert (alarm["level"], alarm["kind"]) == ("warning", "listen.tls")
        assert str(node.certificate) in alarm["error"] or str(node.key) in alarm["error"]
        renewed = pki.issue(f"spoiled {spoil}")
        renewed.key.chmod(0o600)
        door.receiver.look_at_certificates()
        assert len(lines("certificate.renewed")) == 1
        assert door.lives()


def test_an_authority_that_is_taken_away_opens_no_door_from_then_on(tmp_path, pki, other):
    tls = pki.listen(pki.issue("node"))
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(pki.file.read_bytes() + other.file.read_bytes())
    theirs = pki.client(other.issue("caller"))
    with opened(tmp_path / "spool", QUICK, (tls.model_copy(update={"trusted": trusted}), theirs)) as door:
        assert door.lives()
        trusted.write_bytes(pki.file.read_bytes())
        assert is_refused(door, theirs)
        assert not is_refused(door, pki.client(pki.issue("caller")))
