"""What a configuration says of TLS is either right or named with what is wrong, before the node starts."""

import contextlib
import re
import shlex
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from node import cli
from node.config import Audit, Destination, Listen, ListenTLS, Settings, load
from node.errors import ConfigError
from node.tls.certificates import all_files, check_all, days_left
from node.tls.contexts import of_destination, of_port
from tests.peers import require_peer
from tests.pki import EXPIRED, NOT_YET, Authority

ROOT = Path(__file__).resolve().parents[1]
DESTINATION = {"name": "pacs", "ae_title": "PACS", "host": "pacs.example", "port": 2762}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def authority(tmp_path, shared):
    """An authority whose files a test may spoil."""
    own = Authority.__new__(Authority)
    own.folder, own.ca, own.file = tmp_path, shared.ca, tmp_path / "authority.pem"
    own.ca.cert_pem.write_to_path(str(own.file))
    return own


def settings_of(authority, pair):
    return Settings(listen=Listen(tls=authority.listen(pair)))


def complaint(settings):
    with pytest.raises(ConfigError) as refused:
        check_all(settings)
    return str(refused.value)


def written(folder, values):
    path = folder / "node.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def refusal(folder, values):
    with pytest.raises(ConfigError) as refused:
        load(written(folder, values))
    return re.sub(r"^.*node.yaml:\d+: ", "", str(refused.value))


# The file


def test_without_a_word_everything_goes_in_the_clear():
    assert Listen().tls is None
    assert Destination(**DESTINATION).tls is None
    assert of_port(Listen()) is None
    assert of_destination(Destination(**DESTINATION)) is None
    assert all_files(Settings()) == []


@pytest.mark.parametrize("off", [False, "off"])
def test_off_is_off(tmp_path, off):
    settings = load(written(tmp_path, {"listen": {"tls": off}, "destinations": [{**DESTINATION, "tls": off}]}))
    assert (settings.listen.tls, settings.destinations[0].tls) == (None, None)


@pytest.mark.parametrize("value", [None, True, "", 0, "on", []])
def test_nothing_but_off_turns_it_off(tmp_path, value):
    assert "must be" in refusal(tmp_path, {"listen": {"tls": value}})
    assert "must be" in refusal(tmp_path, {"destinations": [{**DESTINATION, "tls": value}]})


def test_the_files_are_taken_from_the_folder_of_the_configuration(tmp_path):
    listen = {"certificate": "n.pem", "key": "n.key", "trusted": "/etc/ca.pem"}
    settings = load(written(tmp_path, {"listen": {"tls": listen}, "destinations": [{**DESTINATION, "tls": listen}]}))
    for tls in (settings.listen.tls, settings.destinations[0].tls):
        assert (tls.certificate, tls.key, tls.trusted) == (tmp_path / "n.pem", tmp_path / "n.key", Path("/etc/ca.pem"))


def test_callers_must_show_a_certificate_and_servers_their_name_unless_told_otherwise(tmp_path):
    listen = {"certificate": "n.pem", "key": "n.key", "trusted": "ca.pem"}
    settings = load(
        written(tmp_path, {"listen": {"tls": listen}, "destinations": [{**DESTINATION, "tls": {"trusted": "ca"}}]})
    )
    assert settings.listen.tls.client_certificate
    assert settings.destinations[0].tls.check_name


def test_what_is_missing_is_named(tmp_path):
    assert refusal(tmp_path, {"listen": {"tls": {"certificate": "a", "key": "b"}}}).startswith(
        "listen.tls: trusted is missing"
    )
    assert refusal(tmp_path, {"listen": {"tls": {"certificate": "a", "trusted": "b"}}}) == (
        "listen.tls.key: is missing; give it a value"
    )
    half = {"destinations": [{**DESTINATION, "tls": {"trusted": "a", "certificate": "b"}}]}
    assert refusal(tmp_path, half) == "destinations.0.tls: certificate and key go together; give both, or neither"
    assert "Known here: trusted, certificate, key, server_name, check_name." in refusal(
        tmp_path, {"destinations": [{**DESTINATION, "tls": {"trusted": "a", "chek_name": False}}]}
    )


@pytest.mark.parametrize("name", [".pacs", "a..b", "x" * 64 + ".example", "a\nb"])
def test_a_server_name_that_is_none_is_refused(tmp_path, name):
    tls = {"trusted": "a", "server_name": name}
    assert "must be the name of a host" in refusal(tmp_path, {"destinations": [{**DESTINATION, "tls": tls}]})


@pytest.mark.parametrize("section", ["ListenTLS", "DestinationTLS"])
def test_the_configuration_file_explains_every_key_of_tls(section):
    from node import config

    text = (ROOT / "config" / "node.yaml").read_text("utf-8")
    for key in getattr(config, section).model_fields:
        assert re.search(rf"^ *#  +([a-z_]+, )?{key}\b", text, re.MULTILINE), key


# The files it names


def test_what_is_right_is_taken(authority):
    pair = authority.issue("node")
    settings = Settings(
        listen=Listen(tls=authority.listen(pair)),
        destinations=(Destination(**DESTINATION, tls=authority.destination(pair)),),
        audit=Audit(syslog="tls://127.0.0.1:6514", tls=authority.destination()),
    )
    check_all(settings)
    assert [each.section for each in all_files(settings)] == ["listen.tls", "destinations.pacs.tls", "audit.tls"]


@pytest.mark.parametrize("name", ["certificate", "key", "trusted"])
def test_a_file_that_is_not_there_is_named(authority, name):
    settings = settings_of(authority, authority.issue("node"))
    path = getattr(settings.listen.tls, name)
    path.unlink()
    assert complaint(settings) == f"listen.tls.{name}: {path}: no such file. Put it there, or name the right one."


@pytest.mark.parametrize("name", ["certificate", "key", "trusted"])
@pytest.mark.parametrize(
    "content", [b"", b"\x30\x82\x01\x0a", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_file_that_holds_something_else_is_named(authority, name, content):
    settings = settings_of(authority, authority.issue("node"))
    path = getattr(settings.listen.tls, name)
    path.write_bytes(content)
    assert complaint(settings).startswith(f"listen.tls.{name}: {path}: holds no ")


def test_a_folder_in_place_of_a_file_is_named(authority):
    settings = settings_of(authority, authority.issue("node"))
    settings.listen.tls.certificate.unlink()
    settings.listen.tls.certificate.mkdir()
    assert "cannot be read: is a directory" in complaint(settings)


def test_the_key_of_another_certificate_is_named(authority):
    pair, other = authority.issue("node"), authority.issue("other")
    pair.key.write_bytes(other.key.read_bytes())
    assert complaint(settings_of(authority, pair)) == (
        f"listen.tls.key: {pair.key}: is not the key of {pair.certificate}. "
        "Name the key that the certificate was requested with."
    )


def test_a_certificate_that_has_expired_is_named_with_the_day(authority):
    pair = authority.issue("node", **EXPIRED)
    yesterday = f"{EXPIRED['not_after']:%Y-%m-%d}"
    assert complaint(settings_of(authority, pair)) == (
        f"listen.tls.certificate: {pair.certificate}: expired on {yesterday}. "
        "Have it renewed, and put the new one in its place."
    )


def test_a_certificate_of_the_future_has_the_clock_looked_at(authority):
    assert "Check this machine's clock" in complaint(settings_of(authority, authority.issue("node", **NOT_YET)))


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o602])
def test_a_key_that_every_user_may_read_is_refused(authority, mode):
    pair = authority.issue("node")
    pair.key.chmod(mode)
    assert complaint(settings_of(authority, pair)) == (
        f"listen.tls.key: {pair.key}: every user of this machine may read it. Take that away: chmod o= {pair.key}"
    )


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640])
def test_a_key_that_its_owner_and_a_group_may_read_is_taken(authority, mode):
    pair = authority.issue("node")
    pair.key.chmod(mode)
    check_all(settings_of(authority, pair))


def test_a_key_with_a_password_is_refused_and_nobody_is_asked_for_it(authority):
    from cryptography.hazmat.primitives import serialization as pem

    pair = authority.issue("node")
    key = pem.load_pem_private_key(pair.key.read_bytes(), None)
    secret = pem.BestAvailableEncryption(b"secret")
    pair.key.write_bytes(key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, secret))
    assert "has a password, and nobody is there to type it" in complaint(settings_of(authority, pair))


def test_the_node_does_not_start_with_files_that_cannot_be_used(authority):
    pair = authority.issue("node", **EXPIRED)
    tls = {"certificate": str(pair.certificate), "key": str(pair.key), "trusted": str(authority.file)}
    config = written(authority.folder, {"destinations": [{**DESTINATION, "tls": tls}]})
    with pytest.raises(ConfigError, match=r"destinations\.pacs\.tls\.certificate: .*: expired on"):
        cli.serve(config)
    assert not (authority.folder / "spool").exists()


def test_days_are_whole_ones():
    now = datetime.now(UTC)
    assert [days_left(now + timedelta(hours=hours)) for hours in (-1, 1, 25)] == [-1, 0, 1]


@pytest.mark.peers
def test_the_commands_for_a_test_authority_in_the_readme_make_what_the_node_takes(tmp_path):
    require_peer("openssl")
    commands = re.findall(r"^openssl req .*$", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        subprocess.run(shlex.split(command), cwd=tmp_path, check=True, capture_output=True)
    example = re.search(r"```yaml\n(listen:.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    (tmp_path / "node.yaml").write_text(example[1])
    settings = load(tmp_path / "node.yaml")
    check_all(settings)
    assert len(all_files(settings)) == 2
    pacs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pacs.load_cert_chain(tmp_path / "pacs.crt", tmp_path / "pacs.key")
    assert handshake(of_destination(settings.destinations[0]).context(), pacs, "pacs.hospital.example")


def handshake(client, server, name):
    """Whether a client and a server get on, in memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [client.wrap_bio(to_client, to_server, server_hostname=name), server.wrap_bio(to_server, to_client, True)]
    for _ in range(4):
        for side in sides:
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return sides[0].getpeercert()["subjectAltName"][0] == ("DNS", name)


def test_a_key_that_is_too_short_is_refused_by_openssl_and_the_section_named(tmp_path):
    command = f"openssl req -x509 -newkey rsa:1024 -noenc -days 2 -subj /CN=weak -keyout {tmp_path}/k -out {tmp_path}/c"
    subprocess.run([require_peer("openssl"), *shlex.split(command)[1:]], check=True, capture_output=True)
    weak = ListenTLS(certificate=tmp_path / "c", key=tmp_path / "k", trusted=tmp_path / "c")
    with pytest.raises(ConfigError, match=r"listen\.tls: OpenSSL does not take its files: EE_KEY_TOO_SMALL\. Have"):
        of_port(Listen(tls=weak))
