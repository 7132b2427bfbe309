"""DICOM over TLS with the peers that a hospital has: DCMTK and Orthanc, both ways."""

import pytest
from pydicom import dcmread

from node.config import Destination
from node.deliver import StorageSCU
from node.errors import TryAgain
from tests.doors import opened
from tests.peers import HOST, Orthanc, StoreSCP, require_peer, storescu, wait_until
from tests.pki import EXPIRED, Authority
from tests.radiographs import radiograph, write_file
from tests.scp import instance, write

pytestmark = pytest.mark.peers


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def door(tmp_path, pki):
    require_peer("storescu")
    with opened(tmp_path / "spool", None, (pki.listen(pki.issue("node")), pki.client(pki.issue("caller")))) as running:
        yield running


@pytest.fixture
def film(tmp_path):
    return write_file(tmp_path / "film.dcm", radiograph())


def shown(pair):
    """The options by which a tool of DCMTK shows a certificate."""
    return ["+tls", str(pair.key), str(pair.certificate)]


def scu_of(peer, tls):
    return StorageSCU(Destination(name="pacs", ae_title=peer.ae_title, host=HOST, port=peer.port, tls=tls), "CXRTRIAGE")


def test_storescu_stores_by_tls_and_not_without(door, film, pki):
    trusted = ["+cf", str(pki.file)]
    sent = storescu(door.port, [film], options=[*shown(pki.issue("dcmtk")), *trusted])
    assert sent.returncode == 0, sent.stdout
    assert len(list((door.spool.folder / "studies").glob("*/*.dcm"))) == 1
    for options in ([], ["+tla", *trusted], [*shown(pki.issue("old dcmtk", **EXPIRED)), *trusted]):
        assert storescu(door.port, [film], options=options).returncode != 0
    wait_until(lambda: sum(door.count("cut").values()) == 3)
    door.comes_to_count("cut", {"no TLS": 1, "no client certificate": 1, "client certificate has expired": 1})


def test_storescu_that_does_not_trust_the_node_sends_it_nothing(door, film, pki, tmp_path):
    other = Authority(tmp_path / "other")
    refused = storescu(door.port, [film], options=[*shown(pki.issue("dcmtk")), "+cf", str(other.file)])
    assert refused.returncode != 0
    wait_until(lambda: door.count("cut") == {"caller does not take the node's certificate": 1})


def test_storescp_takes_results_by_tls(tmp_path, pki):
    require_peer("storescp")
    report = write(instance(), tmp_path / "report.dcm")
    options = [*shown(pki.issue("storescp")), "+cf", str(pki.file)]
    with StoreSCP(tmp_path / "storescp", options=options) as storescp:
        with scu_of(storescp, pki.destination(pki.issue("node"))) as scu:
            assert scu.echo() > 0
            assert scu.store([report]).status.code == 0x0000
        with scu_of(storescp, pki.destination()) as scu, pytest.raises(TryAgain, match="certificate"):
            scu.echo()
        (kept,) = storescp.files()
        assert dcmread(kept).SOPInstanceUID == dcmread(report).SOPInstanceUID


def test_orthanc_and_the_node_speak_tls_both_ways(tmp_path, door, film, pki):
    require_peer("orthanc")
    pair = pki.issue("orthanc")
    options = {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(pair.certificate),
        "DicomTlsPrivateKey": str(pair.key),
        "DicomTlsTrustedCertificates": str(pki.file),
        "DicomTlsRemoteCertificateRequired": True,
    }
    report = write(instance(), tmp_path / "report.dcm")
    with Orthanc(tmp_path / "orthanc", options=options) as pacs:
        pacs.add_modality("node", "CXRTRIAGE", HOST, door.port, UseDicomTls=True)
        pacs.add_modality("clear", "CXRTRIAGE", HOST, door.port)
        assert pacs.echo("node")
        assert not pacs.echo("clear")
        pacs.store_to("node", [pacs.upload(film.read_bytes())])
        assert len(list((door.spool.folder / "studies").glob("*/*.dcm"))) == 1
        with scu_of(pacs, pki.destination(pki.issue("node"))) as scu:
            assert scu.store([report]).status.code == 0x0000
        assert pacs.instances(str(dcmread(report).StudyInstanceUID))
