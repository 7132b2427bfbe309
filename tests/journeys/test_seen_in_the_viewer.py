"""A film in, its answer on a reader's screen: PACS, node and viewer by the files in ``docker``, looked at in a browser.

The servers are those of ``make pacs``, which is started, read and interrupted here as a person would.
"""

from __future__ import annotations

import io
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser
from pydicom import dcmread
from pydicom.dataset import Dataset

from node.errors import ReportError
from node.pixels import read_dicom
from node.report import EXTRAS, ResultObject, compose
from node.report.check import check
from node.report.identity import identity_of
from tests.browser import WITHIN_S, Window, chromium, colored, is_film, screenshots
from tests.films import parsed
from tests.hospital import SENDERS
from tests.journeys.films import SAMPLES, as_new_study, file_of
from tests.peers import Instance, Orthanc, require_peer, storescu, wait_until
from tests.readings import OPTIONS, URGENT, source
from tests.running import REPOSITORY, study_uid, values

# The first test waits for the servers; on a machine that does much else besides, loading the model takes minutes.
pytestmark = [pytest.mark.viewer, pytest.mark.peers, pytest.mark.slow, pytest.mark.timeout(600)]

READY_WITHIN_S, STOPPED_WITHIN_S = 420, 60
DX, CHILD, SUSPECT, NO_CHEST = "01-normal-adult", "02-normal-child", "05-tuberculosis-adult", "07-step-wedge"
# Tuberculosis   >99 %  +/- <1  cut-off 61 %  ABOVE
ROW = re.compile(r"^(Tuberculosis|Pneumonia|Normal) +([<>]?)(\d+(?:\.\d+)?) %", re.MULTILINE)


@dataclass(frozen=True)
class Hospital:
    """What ``make pacs`` says: where the start page is, and on which port the PACS takes films."""

    home: str
    status: str
    dicom_port: int
    pacs: Orthanc


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    for name in ("orthanc", "nginx", "storescu"):
        require_peer(name)
    command = [sys.executable, "-m", "tests.tools.pacs", "--free-ports"]
    with subprocess.Popen(command, cwd=REPOSITORY, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as tool:
        said = _until_ready(tool)
        (home,) = re.findall(r"Open in a browser: +(http://\S+)/$", said, re.MULTILINE)
        (status,) = re.findall(r"status page +(http://\S+)/$", said, re.MULTILINE)
        (dicom_port,) = re.findall(r"send it to ORTHANC at 127\.0\.0\.1:(\d+)", said)
        pacs = Orthanc(tmp_path_factory.mktemp("unused"))
        pacs.http = httpx.Client(base_url=f"{home}/orthanc", timeout=60, trust_env=False)
        yield Hospital(home, status, int(dicom_port), pacs)
        pacs.http.close()
        started_by_it = [int(pid) for pid in Path(f"/proc/{tool.pid}/task/{tool.pid}/children").read_text().split()]
        assert len(started_by_it) == 3, "Orthanc, the node and nginx"
        tool.send_signal(signal.SIGINT)
        assert tool.wait(STOPPED_WITHIN_S) == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in started_by_it)


def _until_ready(tool: subprocess.Popen[str]) -> str:
    """Return what the tool says until it says that Ctrl-C stops it; fail with that where it does not come to it."""
    overdue = threading.Timer(READY_WITHIN_S, tool.terminate)
    overdue.start()
    assert tool.stdout is not None
    said = ""
    for line in tool.stdout:
        said += line
        if "Ctrl-C stops it all" in line:
            overdue.cancel()
            return said
    raise AssertionError(f"make pacs did not become ready within {READY_WITHIN_S} s:\n{said}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return screenshots() or tmp_path_factory.mktemp("screenshots")


@pytest.fixture
def unwatched(hospital: Hospital, browser: Browser, shots: Path) -> Iterator[Window]:
    """A window in which something is expected to go wrong."""
    window = Window(browser, hospital.home, shots)
    yield window
    window.page.close()


@pytest.fixture
def window(unwatched: Window, request: pytest.FixtureRequest) -> Iterator[Window]:
    """A window in which nothing may go wrong: no error, no answer of 400 and above, no address beyond this machine."""
    yield unwatched
    unwatched.keep(request.node.name)
    assert unwatched.troubles == []


def uid_of(sample: str) -> str:
    return study_uid(SAMPLES[sample].files[0])


def held(hospital: Hospital, uid: str, modality: str) -> list[Instance]:
    return [instance for instance in hospital.pacs.instances(uid) if instance.modality == modality]


def report_of(hospital: Hospital, uid: str) -> Dataset:
    (report,) = held(hospital, uid, "SR")
    return dcmread(io.BytesIO(hospital.pacs.download(report.id)))


def impression(report: Dataset) -> str:
    """The Impression (121073, DCM) of a report."""
    for section in report.ContentSequence:
        for item in section.get("ContentSequence", ()):
            if item.ConceptNameCodeSequence[0].CodeValue == "121073":
                return str(item.TextValue)
    raise AssertionError("the report has no impression")


def assert_the_screen_says_what_the_report_holds(text: str, report: Dataset) -> None:
    answer = impression(report).splitlines()[0]
    assert f"Impression: {answer}\n" in text
    measured = {name.removeprefix("Probability of ").lower(): value for name, value in values(report).items()}
    rows = {label.lower(): (sign, float(percent)) for label, sign, percent in ROW.findall(text)}
    assert set(rows) == {"tuberculosis", "pneumonia", "normal"}
    for label, (sign, percent) in rows.items():
        number = measured[label]
        if sign == "<":
            assert number < percent
        elif sign == ">":
            assert number > percent
        else:
            assert abs(number - percent) <= 0.5, label


def test_the_start_page_leads_to_worklist_pacs_and_status(window: Window, hospital: Hospital) -> None:
    page = window.page
    for link, address, sign in (
        ("Worklist", f"{hospital.home}/viewer", "Study List"),
        ("PACS", f"{hospital.home}/orthanc/app/explorer.html", "Patients"),
        ("Node", f"{hospital.status}/", "CXR"),
    ):
        window.open("/")
        assert "Research and education only, not for diagnosis." in page.inner_text("body")
        page.get_by_role("link", name=link).click()
        page.get_by_text(sign).first.wait_for()
        assert page.url.startswith(address)


def test_the_worklist_has_every_sample_with_its_results(window: Window, hospital: Hospital) -> None:
    window.open("/viewer")
    for name, sample in SAMPLES.items():
        film = dcmread(sample.files[0], stop_before_pixels=True)
        row = window.page.get_by_role("row").filter(has_text=str(film.AccessionNumber))
        row.wait_for()
        assert film.StudyDescription in row.inner_text()
        results = ["SR"] if sample.expected == "not analysed" else ["OT", "SR"]
        assert "\\".join([film.Modality, *results]) in row.inner_text(), name
        assert len(held(hospital, film.StudyInstanceUID, "OT")) == (len(results) - 1) * len(sample.files)


def test_a_film_sent_to_the_pacs_is_answered_on_the_readers_screen(
    window: Window, hospital: Hospital, tmp_path: Path
) -> None:
    film = as_new_study(DX, PatientName="SENT^TODAY", PatientID="SENT")
    uid = film.StudyInstanceUID
    film.AccessionNumber = uid[-16:]
    sent = storescu(hospital.dicom_port, [file_of(film, tmp_path)], "ORTHANC", SENDERS[0])
    assert sent.returncode == 0, sent.stdout
    wait_until(lambda: held(hospital, uid, "OT") and held(hospital, uid, "SR"), WITHIN_S, "the results in the PACS")
    window.open("/viewer")
    window.page.get_by_role("row").filter(has_text=film.AccessionNumber).click()
    window.page.get_by_role("button", name="Basic Viewer").click()
    window.series("SR").wait_for()
    window.wait_until_seen(is_film, "the film seen")
    for instance in hospital.pacs.instances(uid):
        assert instance.series_description in window.series(instance.modality).inner_text()
    report = report_of(hospital, uid)
    window.show("SR")
    window.wait_for_text("Impression")
    assert_the_screen_says_what_the_report_holds(window.text(), report)


def test_the_pacs_takes_nothing_from_titles_that_it_does_not_know(hospital: Hospital, tmp_path: Path) -> None:
    film = as_new_study(DX)
    sent = storescu(hospital.dicom_port, [file_of(film, tmp_path)], "ORTHANC", "STRANGER")
    assert sent.returncode != 0
    assert hospital.pacs.instances(film.StudyInstanceUID) == []


def test_the_picture_of_a_suspect_film_is_seen_in_color(window: Window, hospital: Hospital) -> None:
    uid = uid_of(SUSPECT)
    window.open_study(uid)
    window.wait_until_seen(is_film, "the film seen")
    plain = colored(window.seen())
    report = report_of(hospital, uid)
    window.show("SR")
    window.wait_for_text("Impression")
    window.keep("report")
    assert_the_screen_says_what_the_report_holds(window.text(), report)
    window.show("OT")
    window.wait_until_seen(lambda pixels: colored(pixels) > 20_000 + plain, "the heat map and the banner")
    window.keep("picture")


def test_a_film_in_implicit_little_endian_is_seen_and_answered(window: Window, hospital: Hospital) -> None:
    uid = uid_of(CHILD)
    window.open_study(uid)
    window.wait_until_seen(is_film, "the film seen")
    window.show("SR")
    window.wait_for_text("Impression")
    assert_the_screen_says_what_the_report_holds(window.text(), report_of(hospital, uid))


def test_a_study_that_was_not_analysed_says_so(window: Window, hospital: Hospital) -> None:
    window.open_study(uid_of(NO_CHEST))
    assert "NOT ANALYSED" in window.series("SR").inner_text()
    assert window.series("OT").count() == 0
    window.show("SR")
    window.wait_for_text("NOT ANALYSED")
    text = window.text()
    assert "Impression: NOT ANALYSED" in text
    assert "Not a negative result. Read as usual." in text
    assert "not for diagnosis" in text
    assert ROW.findall(text) == []


def test_orthancs_own_pages_show_the_picture(window: Window, hospital: Hospital) -> None:
    uid = uid_of(SUSPECT)
    (picture,) = held(hospital, uid, "OT")
    series = hospital.pacs.http.get(f"/instances/{picture.id}/series").json()["ID"]
    window.open(f"/orthanc/app/explorer.html#series?uuid={series}")
    window.page.get_by_text(picture.series_description).first.wait_for()
    window.open(f"/orthanc/instances/{picture.id}/preview")
    image = window.page.locator("img")
    image.wait_for()
    stored = dcmread(io.BytesIO(hospital.pacs.download(picture.id))).pixel_array
    pixels = window.seen(image)
    assert colored(pixels) / pixels[..., 0].size == pytest.approx(
        colored(stored.astype(int)) / stored[..., 0].size, abs=0.02
    )
    assert colored(stored.astype(int)) > 20_000


def test_what_is_sent_on_request_opens_too(window: Window, hospital: Hospital, tmp_path: Path) -> None:
    film = as_new_study(SUSPECT, PatientName="ON^REQUEST", PatientID="REQUEST", AccessionNumber="REQUEST")
    path = file_of(film, tmp_path)
    said = source((film, URGENT), plane=lambda _: read_dicom(path))
    results = {each.kind: each.encodings[0].data for each in compose(said, replace(OPTIONS, extra=EXTRAS), "viewer")}
    for data in (path.read_bytes(), *results.values()):
        hospital.pacs.upload(data)
    window.open_study(film.StudyInstanceUID)
    window.wait_until_seen(is_film, "the film seen")
    plain = colored(window.seen())
    # OHIF has nothing to show a selection of images with, and says so beside its name.
    assert "AI key" in window.series("KO").inner_text()
    window.show("SR", "AI box")
    window.wait_until_seen(lambda pixels: is_film(pixels) and colored(pixels) > 500 + plain, "the box on the film")
    window.keep("box")
    window.show("DOC")
    window.page.locator("object[type='application/pdf']").wait_for()
    held = dcmread(io.BytesIO(results["pdf"]))
    shown = window.page.evaluate(
        "async () => { const document_ = await fetch(document.querySelector('object').data);"
        " return (await document_.arrayBuffer()).byteLength; }"
    )
    assert shown - held.EncapsulatedDocumentLength in (0, 1), "it is of even length in the PACS"
    window.wait_until_seen(lambda pixels: pixels.mean() > 60, "the page, which is white")
    window.keep("pdf")


@pytest.fixture
def without_region() -> tuple[ResultObject, Dataset]:
    """An AI Results report (TID 1500), whose measurement groups have no region, and the film that it is about."""
    film = as_new_study(DX, PatientName="WITHOUT^REGION", PatientID="REGION", AccessionNumber="REGION")
    (report, *_) = compose(source((film, URGENT)), OPTIONS, "air")
    return report, film


def test_a_report_that_the_check_refuses_is_one_that_blackens_the_viewer(
    unwatched: Window, hospital: Hospital, without_region: tuple[ResultObject, Dataset], tmp_path: Path
) -> None:
    report, film = without_region
    identity = identity_of(parsed(film))
    check(report, identity, "air")
    with pytest.raises(ReportError, match="a measurement group has no region, which blackens viewers"):
        check(report, identity, "viewer")
    sent = report.encodings[0].data
    hospital.pacs.upload(file_of(film, tmp_path).read_bytes())
    hospital.pacs.upload(sent)
    unwatched.open_study(film.StudyInstanceUID)
    unwatched.wait_until_seen(is_film, "the film seen")
    assert unwatched.troubles == []
    unwatched.show("SR", str(dcmread(io.BytesIO(sent)).SeriesDescription))
    unwatched.page.get_by_text("Something went wrong").first.wait_for()
    unwatched.keep("blackened")
    pixels = unwatched.seen()
    assert pixels[: len(pixels) // 2].mean() < 5, "black above the notice"
    unwatched.page.get_by_role("button", name="Show Details").first.click()
    unwatched.page.get_by_text("ReferencedSOPSequence").first.wait_for(state="attached")
