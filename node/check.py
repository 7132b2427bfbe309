"""Whether the node would run well: the model and its golden cases, the disk, and each destination."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape

from node import disk, log
from node.bundle import Bundle, load
from node.config import Settings
from node.deliver import StorageSCU
from node.errors import ConfigError, NodeError
from node.site_thresholds import cut_offs, in_force, source, told
from node.spool import Spool
from node.status import ROOM_WANTED_BYTES
from node.tls.certificates import all_files, days_left, expires


@dataclass(frozen=True, slots=True)
class FindingOfCheck:
    """One thing checked.

    Attributes
    ----------
    subject : str
    passed : bool
    words : str
        What was found; where it failed, who must do what.
    """

    subject: str
    passed: bool
    words: str


def examine(settings: Settings) -> list[FindingOfCheck]:
    """Check everything that can be checked without starting the node.

    Parameters
    ----------
    settings : Settings
        They have been checked by being loaded.

    Returns
    -------
    list of FindingOfCheck
    """
    return [
        FindingOfCheck("configuration", True, f"AE title {settings.listen.ae_title}, port {settings.listen.port}"),
        *model(settings),
        _disk(settings),
        *_certificates(settings),
        *_destinations(settings),
    ]


def render(findings: list[FindingOfCheck]) -> None:
    """Print the findings, a line each, so that a script can read them too."""
    console = Console(highlight=False, soft_wrap=True)
    for finding in findings:
        word = "[green]good[/]" if finding.passed else "[bold red]BAD [/]"
        console.print(f"{word}  {escape(finding.subject)}: {escape(finding.words)}")


def model(settings: Settings, golden: bool = True) -> Iterator[FindingOfCheck]:
    """Check the model bundle's digests and cut-offs, and where it is wanted what it answers to its golden cases.

    Parameters
    ----------
    settings : Settings
    golden : bool
        Loads the model, which takes seconds.
    """
    try:
        bundle = in_force(load(settings.model.bundle), settings.model.thresholds)
        identity = bundle.identity
        yield FindingOfCheck(
            "model", True, f"{identity.name} {identity.version}, weights {identity.weights_sha256[:12]}, digests match"
        )
        yield FindingOfCheck("cut-offs", True, f"of {source(bundle)}: {told(cut_offs(bundle))}")
        if golden:
            yield _golden(settings, bundle)
    except NodeError as error:
        yield FindingOfCheck("model", False, str(error))


def _golden(settings: Settings, bundle: Bundle) -> FindingOfCheck:
    with log.native_notes_held_back():
        from node.infer import Reader, replay_golden

        reader = Reader(bundle, settings.model.device)
        results = replay_golden(reader, bundle)
    missed = [result.file for result in results if not result.passed]
    largest = max((result.difference for result in results), default=0.0)
    words = f"{len(results)} replayed on the {reader.device.upper()}, largest difference {largest:.1e}"
    if missed:
        words += f"; not answered as they must be: {', '.join(missed)}. Restore the bundle, or report this machine."
    return FindingOfCheck("golden cases", bool(results) and not missed, words)


def _disk(settings: Settings) -> FindingOfCheck:
    folder = settings.spool.folder
    try:
        Spool(folder)
        room = disk.room(folder, settings.spool.reserve_bytes)
    except OSError as error:
        return FindingOfCheck(
            "spool", False, f"{folder}: {os.strerror(error.errno or 0)}. Give the service's user the folder."
        )
    free, words = room.free_bytes, f"{folder}: {room.free_bytes / 2**30:.1f} GiB free"
    if room.is_short:
        words += f", {settings.spool.reserve_mb} MiB of it kept for results (spool.reserve_mb): no image is taken"
    if free < ROOM_WANTED_BYTES:
        words += f"; at least {ROOM_WANTED_BYTES >> 30} GiB are wanted. Make room, or move spool.folder."
    return FindingOfCheck("spool", free >= ROOM_WANTED_BYTES, words)


def _certificates(settings: Settings) -> Iterator[FindingOfCheck]:
    for files in all_files(settings):
        try:
            files.check()
        except ConfigError as error:
            yield FindingOfCheck(files.section, False, str(error))
            continue
        words = "no certificate of the node's own"
        if files.certificate:
            words = f"the node's certificate holds for {days_left(expires(files.section, files.certificate))} days"
        yield FindingOfCheck(files.section, True, words)


def _destinations(settings: Settings) -> Iterator[FindingOfCheck]:
    if not settings.destinations:
        yield FindingOfCheck("destinations", False, "none: results would go nowhere. Add one under destinations.")
    for destination in settings.destinations:
        subject = f"destination {destination.name}"
        try:
            with StorageSCU(destination, settings.listen.ae_title) as scu:
                yield FindingOfCheck(subject, True, f"{destination.ae_title} answered in {scu.echo():.0f} ms")
        except NodeError as error:
            yield FindingOfCheck(subject, False, str(error))
