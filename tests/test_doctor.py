"""What the doctor says of a configuration and of what surrounds it: each trouble by its name, with its mend."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.sop_class import (
    BasicTextSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    SecondaryCaptureImageStorage,
    StorageCommitmentPushModel,
    Verification,
)
from typer.testing import CliRunner

from node.cli import app
from node.config import Destination, Listen, Settings, Web
from node.config import Report as ReportSection
from node.config import Spool as SpoolSection
from node.doctor import here, instructions, show, there
from node.doctor.findings import Finding, State, all_well
from node.doctor.stranger import who_answers
from node.doctor.there import SYNTAXES
from tests.peers import HOST, Orthanc, StoreSCP, free_port
from tests.pki import EXPIRED, NOW, Authority
from tests.scp import raw_server, storage_scp

UNCOMPRESSED = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]


def settings(*destinations: Destination, folder: Path = Path("spool"), **sections: Any) -> Settings:
    return Settings(destinations=destinations, spool=SpoolSection(folder=folder), **sections)


def pacs(port: int, **more: Any) -> Destination:
    return Destination(**{"name": "pacs", "ae_title": "PACS", "host": HOST, "port": port} | more)


def there_is(at: Destination, **sections: Any) -> list[Finding]:
    return list(there.destination(settings(at, **sections), at))


def bad(findings: Sequence[Finding]) -> Finding:
    """The one trouble."""
    found = [each for each in findings if each.state is State.BAD]
    assert len(found) == 1, findings
    return found[0]


@contextmanager
def web_server() -> Iterator[int]:
    server = http.server.HTTPServer((HOST, 0), http.server.BaseHTTPRequestHandler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_an_unknown_key_is_named_with_its_line_and_the_keys_there_are(tmp_path: Path) -> None:
    file = tmp_path / "node.yaml"
    file.write_text("listen:\n  ae_title: CXRTRIAGE\n  prot: 11112\n")
    done = CliRunner().invoke(app, ["doctor", "--json", "--config", str(file)])
    form = json.loads(done.stdout)
    assert done.exit_code == 1
    assert form["well"] is False
    assert f"{file}:3: listen.prot" in form["findings"][0]["found"]
    assert "port" in form["findings"][0]["mend"]


def test_every_mistake_of_a_configuration_comes_with_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "node.yaml"
    file.write_text("listen:\n  port: yes\nstudy:\n  settle_s: -1\n")
    done = CliRunner().invoke(app, ["doctor", "--config", str(file)])
    assert done.exit_code == 1
    assert f"{file}:2: listen.port" in done.stdout
    assert f"{file}:4: study.settle_s" in done.stdout
    assert done.stdout.count("->") == 2
    assert "2 to mend" in done.stdout


def test_a_closed_port_is_named() -> None:
    port = free_port()
    found = bad(there_is(pacs(port)))
    assert f"nothing listens on {HOST}:{port}" in found.found
    assert "destinations.pacs" in found.mend


def test_a_host_that_nobody_knows_is_named() -> None:
    found = bad(there_is(pacs(104, host="no-such-host.invalid")))
    assert "no-such-host.invalid" in found.found
    assert "destinations.pacs.host" in found.mend


@pytest.mark.slow
def test_a_web_server_in_place_of_the_pacs_is_named() -> None:
    with web_server() as port:
        found = bad(there_is(pacs(port)))
    assert "a web server (HTTP)" in found.found
    assert "destinations.pacs.port" in found.mend


@pytest.mark.parametrize(
    ("greeting", "kind"),
    [
        (b"SSH-2.0-x\r\n", "SSH"),
        (b"220 mail\r\n", "mail"),
        (b"\x07\0\0\0\0\4\0\0\2\1", ""),
        (b"hello", "not speak DICOM"),
    ],
)
def test_what_answers_is_told_by_what_it_says(greeting: bytes, kind: str) -> None:
    with raw_server(lambda connection: connection.sendall(greeting)) as port:
        said = who_answers(HOST, port)
    assert kind in said
    assert bool(said) == bool(kind)


def test_a_good_destination_asks_for_nothing() -> None:
    with storage_scp() as scp:
        found = there_is(pacs(scp.port))
    assert all_well(found)
    assert [each.mend for each in found if each.mend] == []
    assert any("Comprehensive SR" in each.found for each in found)


def test_a_wrong_called_ae_title_is_named() -> None:
    with storage_scp(ae_title="OTHER", require_called_aet=True) as scp:
        found = bad(there_is(pacs(scp.port)))
    assert "called AE title not recognized" in found.found
    assert "ae_title" in found.mend


def test_a_calling_ae_title_that_the_pacs_does_not_know_is_named() -> None:
    with storage_scp(require_calling_aet=["SOMEBODY"]) as scp:
        found = bad(there_is(pacs(scp.port)))
    assert "calling AE title not recognized" in found.found
    assert "CXRTRIAGE" in found.mend


def taking(*sop_classes: str) -> list[tuple[str, Sequence[str]]]:
    return [(each, UNCOMPRESSED) for each in (*sop_classes, Verification)]


def test_a_destination_that_takes_no_structured_report_is_named() -> None:
    with storage_scp(taking(SecondaryCaptureImageStorage)) as scp:
        found = bad(there_is(pacs(scp.port)))
    assert "this PACS takes no SR of class Comprehensive SR, Enhanced SR, Basic Text SR" in found.found
    assert "Let it accept one of them" in found.mend


@pytest.mark.parametrize(
    ("sop_class", "name"), [(EnhancedSRStorage, "Enhanced SR"), (BasicTextSRStorage, "Basic Text")]
)
def test_a_destination_that_takes_another_report_alone_is_told_apart(sop_class: str, name: str) -> None:
    with storage_scp(taking(SecondaryCaptureImageStorage, sop_class)) as scp:
        found = there_is(pacs(scp.port))
    assert all_well(found)
    (noted,) = [each for each in found if each.state is State.NOTE]
    assert f"no SR of class Comprehensive SR: reports go as {name}" in noted.found
    assert "Comprehensive SR" in noted.mend


def test_a_destination_that_takes_no_pictures_is_named_where_there_are_pictures() -> None:
    with storage_scp(taking(ComprehensiveSRStorage)) as scp:
        found = bad(there_is(pacs(scp.port)))
        without = there_is(pacs(scp.port), report=ReportSection(heat_map="off"))
    assert "takes no Secondary Capture Image" in found.found
    assert "report.heat_map: off" in found.mend
    assert all_well(without)


def test_a_destination_without_storage_commitment_is_named_where_it_is_asked_for() -> None:
    contexts = taking(ComprehensiveSRStorage, SecondaryCaptureImageStorage)
    with storage_scp(contexts) as scp:
        found = bad(there_is(pacs(scp.port, commitment=True)))
        assert all_well(there_is(pacs(scp.port)))
    assert "storage commitment" in found.found
    assert "commitment: false" in found.mend
    with storage_scp([*contexts, (StorageCommitmentPushModel, UNCOMPRESSED)]) as scp:
        assert all_well(there_is(pacs(scp.port, commitment=True)))


@pytest.mark.peers
def test_orthanc_says_that_it_is_called_by_a_wrong_title(tmp_path: Path) -> None:
    with Orthanc(tmp_path, options={"DicomCheckCalledAet": True}) as orthanc:
        found = bad(there_is(pacs(orthanc.port, ae_title="WRONG")))
        right = there_is(pacs(orthanc.port, ae_title="ORTHANC"))
    assert "called AE title not recognized" in found.found
    assert "ae_title" in found.mend
    assert all_well(right)


@pytest.mark.peers
def test_the_web_port_of_orthanc_in_place_of_its_dicom_port_is_named(tmp_path: Path) -> None:
    with Orthanc(tmp_path) as orthanc:
        found = bad(there_is(pacs(orthanc.http_port)))
    assert "a web server (HTTP) answers" in found.found
    assert "destinations.pacs.port" in found.mend


@pytest.mark.peers
def test_orthanc_says_that_it_does_not_know_the_node(tmp_path: Path) -> None:
    strict = {"DicomAlwaysAllowStore": False, "DicomAlwaysAllowEcho": False, "DicomCheckModalityHost": True}
    with Orthanc(tmp_path, options=strict) as orthanc:
        found = bad(there_is(pacs(orthanc.port, ae_title="ORTHANC")))
    assert "CXRTRIAGE" in found.mend


@pytest.mark.peers
def test_dcmtk_takes_results_and_does_no_commitment(tmp_path: Path) -> None:
    with StoreSCP(tmp_path) as scp:
        assert all_well(there_is(pacs(scp.port)))
        assert "storage commitment" in bad(there_is(pacs(scp.port, commitment=True))).found


def test_a_spool_that_is_a_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "spool"
    file.touch()
    found = bad(list(here.spool(settings(folder=file))))
    assert f"{file} cannot be written to: it is no folder" in found.found
    assert "spool.folder" in found.mend


@pytest.mark.parametrize("is_there", [True, False])
def test_a_spool_that_this_user_may_not_write_is_named(tmp_path: Path, is_there: bool) -> None:
    if os.geteuid() == 0:
        folder = Path("/proc/sys") if is_there else Path("/proc/sys/spool")  # where root may not write either
    else:
        tmp_path.chmod(0o500)
        folder = tmp_path if is_there else tmp_path / "spool"
    found = bad(list(here.spool(settings(folder=folder))))
    assert "cannot be written to" in found.found
    assert "chown" in found.mend


def test_looking_at_a_spool_leaves_nothing_there(tmp_path: Path) -> None:
    found = list(here.spool(settings(folder=tmp_path / "spool")))
    assert "will be made" in found[0].found
    assert list(tmp_path.iterdir()) == []


def test_a_spool_that_others_may_look_into_is_noted(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    noted = [each for each in here.spool(settings(folder=tmp_path)) if each.state is State.NOTE]
    assert any("chmod 700" in each.mend for each in noted)


MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:26 / /mnt/far rw shared:9 - nfs4 server:/export rw
31 22 0:27 / /mnt/two\\040words rw - tmpfs tmpfs rw
32 30 8:2 / /mnt/far/disk rw - xfs /dev/sdb1 rw
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/var/spool", "ext4"),
        ("/mnt/far/spool", "nfs4"),
        ("/mnt/far", "nfs4"),
        ("/mnt/farther", "ext4"),
        ("/mnt/two words/spool", "tmpfs"),
        ("/mnt/far/disk/spool", "xfs"),
    ],
)
def test_the_file_system_is_that_of_the_nearest_mount(folder: str, kind: str) -> None:
    assert here._file_system(Path(folder), MOUNTS) == kind


def test_a_network_file_system_is_refused_and_one_in_memory_noted() -> None:
    (network,) = here._kind_of_disk(Path("/mnt/far"), "nfs4")
    (memory,) = here._kind_of_disk(Path("/run"), "tmpfs")
    assert (network.state, memory.state) == (State.BAD, State.NOTE)
    assert "local disk" in network.mend
    assert "local disk" in memory.mend


def test_a_spool_short_of_room_is_named(tmp_path: Path) -> None:
    found = settings(folder=tmp_path).model_copy(
        update={"spool": SpoolSection(folder=tmp_path, reserve_mb=1_000_000)},
    )
    if here.room(tmp_path).free_bytes > 1_000_000 << 20:
        pytest.skip("this machine's disk has more free room than can be kept back")
    short = bad(list(here.spool(found)))
    assert "spool.reserve_mb" in short.found
    assert "Make room" in short.mend


def test_a_free_port_is_free(tmp_path: Path) -> None:
    found = here.port(settings(folder=tmp_path, listen=Listen(port=free_port())))
    assert found.state is State.GOOD


def test_a_web_server_on_the_nodes_port_is_named(tmp_path: Path) -> None:
    with web_server() as port:
        found = here.port(settings(folder=tmp_path, listen=Listen(port=port)))
    assert "a web server (HTTP)" in found.found
    assert "listen.port" in found.mend


@pytest.mark.parametrize(("title", "words"), [("CXRTRIAGE", "another DICOM node"), ("OTHER", "does not answer to")])
def test_another_dicom_node_on_the_nodes_port_is_named(tmp_path: Path, title: str, words: str) -> None:
    with storage_scp(ae_title=title, require_called_aet=True) as scp:
        found = here.port(settings(folder=tmp_path, listen=Listen(port=scp.port)))
    assert found.state is State.BAD
    assert words in found.found
    assert "Stop that program" in found.mend


def test_an_address_that_is_not_this_machines_is_named(tmp_path: Path) -> None:
    found = here.port(settings(folder=tmp_path, listen=Listen(host="192.0.2.1", port=free_port())))
    assert found.state is State.BAD
    assert "192.0.2.1 is no address of this machine" in found.found
    assert "listen.host" in found.mend


@pytest.mark.slow
def test_the_status_pages_port_held_by_another_is_named(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as held:
        found = bad(list(here.web(settings(folder=tmp_path, web=Web(port=held.getsockname()[1])))))
    assert "web.port" in found.mend


def test_a_node_open_to_others_is_told_of_firewall_callers_and_page() -> None:
    open_to_all = settings(
        pacs(104), listen=Listen(host="0.0.0.0"), web=Web(host="0.0.0.0", port=free_port(), open=True)
    )
    noted = [*here.configuration(open_to_all), *here.web(open_to_all)]
    mends = " ".join(each.mend for each in noted if each.state is State.NOTE)
    for words in ("firewall-cmd", "ufw allow", "listen.callers", "web.host"):
        assert words in mends


def test_a_pacs_elsewhere_cannot_reach_a_node_on_loopback() -> None:
    noted = [each for each in here.configuration(settings(pacs(104, host="192.0.2.9"))) if each.mend]
    assert "cannot send films here" in noted[0].found
    assert "0.0.0.0" in noted[0].mend


def test_no_destination_at_all_is_named() -> None:
    assert "destinations" in bad(list(here.configuration(settings()))).mend


@pytest.mark.parametrize(
    ("dates", "words"), [(EXPIRED, "expired"), ({"not_after": NOW.replace(year=NOW.year + 9)}, "")]
)
def test_a_certificate_is_looked_at_before_a_caller_meets_it(tmp_path: Path, dates: Any, words: str) -> None:
    authority = Authority(tmp_path)
    listen = Listen(tls=authority.listen(authority.issue("node", **dates)))
    (found,) = here.certificates(settings(listen=listen))
    assert (found.state is State.BAD) == bool(words)
    assert words in found.found
    assert bool(found.mend) == bool(words)


@contextmanager
def tls_server(context: ssl.SSLContext) -> Iterator[int]:
    """A peer that shakes hands, and no more."""

    def greet(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            context.wrap_socket(connection, server_side=True).close()

    with raw_server(greet) as port:
        yield port


def test_a_pacs_whose_certificate_is_of_another_authority_is_named(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs")
    with tls_server(theirs.server(theirs.issue("pacs"), asks=False)) as port:
        found = bad(there_is(pacs(port, tls=ours.destination())))
    assert "a certificate of no trusted authority" in found.found
    assert "tls.trusted" in found.mend


def test_a_pacs_whose_certificate_has_expired_is_named(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with tls_server(authority.server(authority.issue("pacs", **EXPIRED), asks=False)) as port:
        found = bad(there_is(pacs(port, tls=authority.destination())))
    assert "a certificate that has expired" in found.found
    assert "renewed" in found.mend


def test_a_pacs_whose_certificate_is_for_another_name_is_named(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with tls_server(authority.server(authority.issue("pacs", "other.example"), asks=False)) as port:
        found = bad(there_is(pacs(port, tls=authority.destination())))
    assert f"not for {HOST}" in found.found
    assert "tls.server_name" in found.mend


def test_a_pacs_that_wants_tls_of_a_node_without_is_named(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with tls_server(authority.server(authority.issue("pacs"), asks=False)) as port:
        found = bad(there_is(pacs(port)))
    assert "TLS" in found.found + found.mend


def test_a_pacs_in_the_clear_of_a_node_with_tls_is_named(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with storage_scp() as scp:
        found = bad(there_is(pacs(scp.port, tls=authority.destination())))
    assert "TLS" in found.found
    assert found.mend


def test_the_lines_shown_for_the_configuration_are_a_destination_of_it() -> None:
    at = pacs(104, commitment=True, profile="air")
    form = yaml.safe_load(f"destinations:\n{instructions.configuration(at)}")
    assert Destination(**form["destinations"][0]) == at
    empty = yaml.safe_load(instructions.configuration(None))
    assert set(empty["destinations"][0]) == {"name", "ae_title", "host", "port"}


def test_the_json_has_what_the_terminal_has(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    found, known = list(here.configuration(settings())), settings(pacs(104))
    form = json.loads(json.dumps(show.to_json(found, known)))
    show.render(Console(width=200, soft_wrap=True), found, known)
    shown = capsys.readouterr().out
    for each in form["findings"]:
        assert each["found"] in shown
    for value in form["for_the_pacs"].values():
        assert value.split(",")[0] in shown
    assert form["orthanc"] in shown
    assert all(step in shown for step in form["dcm4chee"])


def test_what_is_sent_is_named_to_the_pacs_by_class_and_transfer_syntax() -> None:
    rows = dict(instructions.table(settings(pacs(104), pacs(105, name="air", profile="air", commitment=True))))
    assert "Comprehensive SR Storage" in rows["It sends (Storage SCU)"]
    assert "Comprehensive 3D SR Storage" in rows["It sends (Storage SCU)"]
    assert rows["Transfer syntaxes from it"] == " or ".join(each.name for each in SYNTAXES)
    assert "Storage Commitment" in rows
