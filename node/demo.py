"""The main job, to be looked at: the real node, the shipped samples, and an embedded archive in place of a PACS."""

from __future__ import annotations

import html
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydicom import Dataset, dcmread
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from node import log
from node.archive import Archive
from node.config import load
from node.durable import key_of, read_json
from node.errors import NodeError
from node.report import page
from node.report.answer import DOUBTFUL
from node.report.words import percent
from node.samples import SampleStudy, studies
from node.send import send
from node.service import Supervisor
from node.spool import Spool
from node.study import StudyReading

AE_TITLE, ARCHIVE_AE_TITLE = "CXRTRIAGE", "ARCHIVE"
USUAL_PORT = 11112
# Seconds. Importing TensorFlow and loading the model takes 5 to 15 s on two cores; a study then about 2 s.
READY_WITHIN_S, ANSWER_WITHIN_S = 180.0, 120.0
# A checkout has the models beside the package; a container, in its working folder.
MODELS = (Path("models"), Path(__file__).resolve().parents[1] / "models")


class DemoError(NodeError):
    """The demonstration could not be completed; the message says where it stopped."""


@dataclass(frozen=True)
class Answered:
    """A sample study and what came back for it."""

    sample: SampleStudy
    answer: str
    reading: StudyReading
    seconds: float


def run(out: Path, once: bool) -> None:
    """Send every sample through the node, print the answers, and write them as pages and pictures.

    Parameters
    ----------
    out : Path
        Folder for what came back: ``index.html``, a folder a study, and the DICOM files under ``archive``.
    once : bool
        End when all is answered; otherwise go on listening until Ctrl-C.

    Raises
    ------
    DemoError
        When the node does not start, or a study gets no answer.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, 100))  # nothing to wrap for in a file
    _clear(out)
    os.environ[log.FILE] = str(out / "node.log")
    log.open_log("demo")
    with tempfile.TemporaryDirectory(prefix="cxr-node-demo-") as folder:
        renderer = _Renderer(out)
        with Archive(out / "archive", ARCHIVE_AE_TITLE, on_stored=renderer.stored) as archive:
            config = _write_config(Path(folder), archive.port)
            supervisor = Supervisor(load(config), ("receive", "work"), method="spawn")
            supervisor.start()
            try:
                _demonstrate(console, supervisor, config, archive, renderer, once)
            except KeyboardInterrupt:
                console.print("Stopping.")
            finally:
                supervisor.stop()


def _demonstrate(
    console: Console, supervisor: Supervisor, config: Path, archive: Archive, renderer: _Renderer, once: bool
) -> None:
    spool = Spool(load(config).spool.folder)
    with console.status("Opening the port ..."):
        port = int(_wait_for_role(supervisor, spool, "receive")["port"])
    archive.know(AE_TITLE, "127.0.0.1", port)
    console.print(f"The node listens as [bold]{AE_TITLE}[/] at 127.0.0.1:{port}.")
    with console.status("Loading the model ..."):
        device = _wait_for_role(supervisor, spool, "work")["device"]
    console.print(f"The model is ready on the {str(device).upper()}. Sending {len(studies())} sample studies.\n")
    answered = []
    with Live(_table([]), console=console, refresh_per_second=4) as live:
        for sample in studies():
            answered.append(_send_and_wait(sample, port, spool, archive, renderer))
            live.update(_table(answered))
    renderer.index(answered)
    console.print(
        f"\nReports and pictures: [bold]{renderer.out / 'index.html'}[/]. What the node logged: node.log beside it."
    )
    console.print("Research and education only, not for diagnosis.")
    if not once:
        console.print(f"\nStill listening: send a study to {AE_TITLE} at 127.0.0.1:{port}. Ctrl-C ends the node.")
        while True:
            supervisor.look_after()
            renderer.draw_all()
            time.sleep(0.5)


def _send_and_wait(sample: SampleStudy, port: int, spool: Spool, archive: Archive, renderer: _Renderer) -> Answered:
    study_uid = str(dcmread(sample.files[0], specific_tags=["StudyInstanceUID"]).StudyInstanceUID)
    renderer.name(study_uid, sample.name)
    results = send(list(sample.files), "127.0.0.1", port, AE_TITLE, "DEMO")
    sent = time.monotonic()
    refused = [f"{result.path.name}: {result.status_name}" for result in results if not result.stored]
    if refused:
        raise DemoError(f"the node did not take {', '.join(refused)}")
    study_key = key_of(study_uid)
    deadline = sent + ANSWER_WITHIN_S
    while time.monotonic() < deadline:
        done = _finished(spool, study_key)
        if done is not None:
            answer, stored = renderer.draw(study_uid)
            return Answered(sample, answer, done, stored - sent)
        time.sleep(0.02)
    raise DemoError(f"no answer to {sample.name} within {ANSWER_WITHIN_S:.0f} s{_why(spool)}")


def _finished(spool: Spool, study_key: str) -> StudyReading | None:
    """Return the reading of a study whose results have all been delivered."""
    for generation in spool.generations(study_key)[-1:] if spool.study_folder(study_key).exists() else ():
        delivery = spool.outbox.delivery("archive", study_key, generation.name)
        if delivery and delivery["state"] == "delivered":
            return spool.reading(study_key, generation.name)
    return None


def _why(spool: Spool) -> str:
    reasons = [spool.agenda.reason(task)["message"] for task in spool.agenda.tasks("parked")]
    return f": {'; '.join(reasons)}" if reasons else ""


def _wait_for_role(supervisor: Supervisor, spool: Spool, role: str) -> dict[str, Any]:
    """Return what a role announced once it was ready."""
    deadline = time.monotonic() + READY_WITHIN_S
    path = spool.folder / "run" / f"{role}.json"
    while time.monotonic() < deadline:
        if path.exists():
            return read_json(path)
        supervisor.look_after()
        time.sleep(0.02)
    raise DemoError(f"the role {role!r} did not start within {READY_WITHIN_S:.0f} s; its messages are above")


def _table(answered: list[Answered]) -> Table:
    table = Table(
        caption="Calibrated probabilities; * at or above its cut-off. s: seconds from last byte to report stored, settle time included."
    )
    table.add_column("study", no_wrap=True)
    table.add_column("its label", no_wrap=True)
    table.add_column("answer", no_wrap=True)
    for heading in ("TB", "pneum.", "normal", "s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in answered:
        table.add_row(
            row.sample.name,
            row.sample.truth or "-",
            escape(row.answer.partition(" - ")[0]),
            *_percents(row.reading),
            f"{row.seconds:.1f}",
        )
    return table


def _percents(reading: StudyReading) -> Iterator[str]:
    leading = reading.leading
    for label in ("Tuberculosis", "Pneumonia", "Normal"):
        if leading is None or leading.prediction is None:
            yield "-"
        elif not leading.prediction.reliable:
            yield DOUBTFUL
        else:
            finding = leading.prediction.of(label)
            yield f"{percent(finding.probability, finding.cut_off)}{'*' if finding.above else ''}"


class _Renderer:
    """Turns what the archive was sent into pages and pictures."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self._names: dict[str, str] = {}
        self._held: dict[str, list[tuple[Path, float]]] = {}
        self._undrawn: set[str] = set()

    def name(self, study_uid: str, name: str) -> None:
        """Say which folder the results of a study go to."""
        self._names[study_uid] = name

    def stored(self, path: Path, dataset: Dataset) -> None:
        """Note one result; it is drawn later, for the node is waiting for the archive's answer."""
        self._held.setdefault(str(dataset.StudyInstanceUID), []).append((path, time.monotonic()))
        self._undrawn.add(str(dataset.StudyInstanceUID))

    def draw_all(self) -> None:
        """Draw every study that has something new."""
        while self._undrawn:
            self.draw(self._undrawn.pop())

    def draw(self, study_uid: str) -> tuple[str, float]:
        """Write the page and the pictures of a study.

        Returns
        -------
        str, float
            The first line of its report, and when that was stored on the monotonic clock.
        """
        self._undrawn.discard(study_uid)
        folder = self.out / self._names.get(study_uid, key_of(study_uid))
        folder.mkdir(parents=True, exist_ok=True)
        reports, pictures = self._of(study_uid, "SR"), self._of(study_uid, "OT")
        for number, (picture, _) in enumerate(pictures, start=1):
            (folder / f"picture-{number}.png").write_bytes(page.png(picture.read_bytes()))
        latest, stored = reports[-1]
        (folder / "report.html").write_text(
            page.page(latest.read_bytes(), [picture.read_bytes() for picture, _ in pictures]), "utf-8"
        )
        return page.answer_lines(dcmread(latest))[0], stored

    def _of(self, study_uid: str, modality: str) -> list[tuple[Path, float]]:
        held = self._held.get(study_uid, [])
        return [(path, at) for path, at in held if dcmread(path, specific_tags=["Modality"]).Modality == modality]

    def index(self, answered: list[Answered]) -> None:
        """Write the page that leads to all others."""
        rows = "\n".join(self._row(row) for row in answered)
        (self.out / "index.html").write_text(_INDEX.replace("ROWS", rows), "utf-8")

    def _row(self, row: Answered) -> str:
        name, sample = row.sample.name, row.sample
        pictures = "".join(
            f'<a href="{name}/report.html"><img src="{name}/{path.name}" alt="film and heat map of {name}"></a>'
            for path in sorted((self.out / name).glob("picture-*.png"))
        )
        return (
            f'<section><h2><a href="{name}/report.html">{html.escape(row.answer)}</a></h2>'
            f"<p>{html.escape(name)}: {html.escape(sample.description)} "
            f"Label of its source: {html.escape(sample.truth or 'none')}. "
            f"Answered in {row.seconds:.1f} s.</p>{pictures}</section>"
        )


_INDEX = """<!doctype html><html lang="en"><meta charset="utf-8"><title>CXR triage node: sample studies</title>
<style>body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;background:#101216;color:#eceef0}
a{color:#9cc4ff}section{border-top:1px solid #464c54;padding:1rem 0}h2{font-size:1.1rem;margin:0}
img{max-width:32rem;width:100%;margin:0 1rem 0 0}p{color:#9ea6b0;margin:.3rem 0 .8rem}</style>
<h1>Sample studies, read by the node</h1><p>Research and education only, not for diagnosis.</p>
ROWS
</html>
"""


def _clear(out: Path) -> None:
    """Remove what an earlier run wrote: its study folders, archive and index, nothing else."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in ("archive", *(sample.name for sample in studies())):
            shutil.rmtree(out / name, ignore_errors=True)
        for name in ("index.html", "node.log"):
            (out / name).unlink(missing_ok=True)
    except OSError as error:
        raise DemoError(f"{out}: cannot be written ({error.strerror}); name another folder with --out") from None


def _write_config(folder: Path, archive_port: int) -> Path:
    """Write the configuration a hospital would write, with the archive as its PACS."""
    bundles = [manifest for folder in MODELS for manifest in sorted(folder.resolve().glob("*/bundle.yaml"))]
    if not bundles:
        raise DemoError(f"there is no model bundle in {MODELS[-1]}; restore the folder, or run where it is")
    config = {
        "listen": {"ae_title": AE_TITLE, "port": _free_port()},
        "spool": {"folder": str(folder / "spool")},
        "model": {"bundle": str(bundles[0].parent)},
        "destinations": [{"name": "archive", "ae_title": ARCHIVE_AE_TITLE, "host": "127.0.0.1", "port": archive_port}],
    }
    path = folder / "node.yaml"
    path.write_text(yaml.safe_dump(config), "utf-8")
    return path


def _free_port() -> int:
    """Return the usual port when nobody holds it, else one that the system chooses."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", USUAL_PORT))
        except OSError:
            return 0
    return USUAL_PORT
