"""A report is written in the form that most PACS take; one that takes another gets it, written for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from pydicom import dcmread
from pydicom.uid import UID, ExplicitVRLittleEndian
from pynetdicom import evt
from pynetdicom.sop_class import (
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    SecondaryCaptureImageStorage,
)

from node import bundle as bundles
from node import watch
from node.agenda import Task
from node.config import Destination, Report
from node.deliver import StorageSCU
from node.errors import Parked
from node.journey import Journey
from node.spool import Spool
from node.study import Triage
from tests.filled import FilledSpool, settings_for
from tests.running import BUNDLE
from tests.scp import HOST, storage_scp


class Written:
    """A study whose report is written and not delivered yet."""

    def __init__(self, folder: Path, profile: str) -> None:
        self.folder, self.profile = folder, profile
        self.spool = Spool(folder / "spool")
        filled = FilledSpool(folder / "spool")
        self.task: Task = filled.settled()
        filled.write_reading(self.task, Triage.URGENT)
        self.journey({}, self.destination(1, "pacs")).compose(self.task)
        watch.stop()  # else it ends this process, as it would end a worker that hangs

    def journey(self, scus: dict[str, Any], *destinations: Destination) -> Journey:
        settings = settings_for(self.folder, destinations=destinations, report=Report(heat_map="off"))
        return Journey(settings, self.spool, bundles.load(BUNDLE), cast(Any, None), scus)

    def deliver(self, port: int, name: str = "pacs") -> dict[str, Any]:
        """Deliver it, and return what the outbox says of it then."""
        destination = self.destination(port, name)
        with StorageSCU(destination, "CXRTRIAGE") as scu:
            journey = self.journey({name: scu}, destination)
            (follow,) = journey.post(self.task)
            journey.deliver(follow.task)
        held = self.spool.outbox.delivery(name, self.task.study_key, self.task.generation)
        assert held is not None
        return held

    def destination(self, port: int, name: str) -> Destination:
        form = {"name": name, "ae_title": "PACS", "host": HOST, "port": port, "profile": self.profile}
        return Destination(**cast(Any, form))

    def forms(self) -> list[str]:
        """The SOP classes that it is written in."""
        (report,) = self.spool.results(self.task.study_key, self.task.generation, self.profile)
        return [str(dcmread(path).SOPClassUID) for path in report]


@pytest.fixture(params=["viewer", "air"])
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Written:
    return Written(tmp_path, request.param)


PREFERENCE = {
    "viewer": [ComprehensiveSRStorage, EnhancedSRStorage, BasicTextSRStorage],
    "air": [Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage],
}


def taking(sop_classes: Sequence[str]) -> list[tuple[str, list[str]]]:
    return [(sop_class, [str(ExplicitVRLittleEndian)]) for sop_class in sop_classes]


def test_a_pacs_that_takes_the_preferred_form_gets_it_and_no_other_is_written(written: Written) -> None:
    with storage_scp(taking(PREFERENCE[written.profile])) as pacs:
        assert written.deliver(pacs.port)["state"] == "delivered"
    assert [each.sop_class_uid for each in pacs.received] == PREFERENCE[written.profile][:1] == written.forms()


@pytest.mark.parametrize("nth", [1, 2])
def test_a_pacs_that_accepts_another_form_alone_gets_that(written: Written, nth: int) -> None:
    wanted = PREFERENCE[written.profile][nth]
    with storage_scp(taking([wanted])) as pacs:
        held = written.deliver(pacs.port)
    (received,) = pacs.received
    assert received.sop_class_uid == wanted
    assert held["state"] == "delivered"
    assert held["stored"] == [[wanted, received.sop_instance_uid]]
    assert written.forms() == PREFERENCE[written.profile]


def test_a_pacs_that_refuses_a_form_when_it_comes_gets_the_next(written: Written) -> None:
    first, second, _ = PREFERENCE[written.profile]

    def store(event: Any) -> int:
        return 0x0122 if event.request.AffectedSOPClassUID == first else 0x0000

    with storage_scp(handlers=[(evt.EVT_C_STORE, store)]) as pacs:
        assert written.deliver(pacs.port)["stored"][0][0] == second


def test_a_pacs_that_takes_none_is_told_of_all(written: Written) -> None:
    with storage_scp(taking([SecondaryCaptureImageStorage])) as pacs, pytest.raises(Parked) as refusal:
        written.deliver(pacs.port)
    assert all(UID(sop_class).name in str(refusal.value) for sop_class in PREFERENCE[written.profile])


def test_forms_that_are_there_are_not_written_again(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    with storage_scp(taking(PREFERENCE[written.profile][2:])) as pacs:
        written.deliver(pacs.port)
        monkeypatch.setattr(Spool, "add_form", None)
        written.deliver(pacs.port, "archive")
        first, second = pacs.received
    assert first == second
