"""What a Prometheus server asks of the node; every value is read from the spool when it is asked."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from node.agenda import STATES
from node.config import Settings
from node.recent import Form, changed_at
from node.spool import Spool
from node.status import OPEN_STATES, snapshot
from node.study import Triage
from node.tls.certificates import days_left

# A folder that changed within this time is looked at again: its time stamp is coarser than a new generation is quick.
QUIET_S = 60.0


class Metrics:
    """The node's metrics in a registry of their own, so that nothing of this process or of Python is told.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_SpoolCollector(settings))
        self._lock = threading.Lock()

    def text(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        with self._lock:
            return generate_latest(self._registry)


class _SpoolCollector(Collector):
    """Asks the spool when it is asked."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tally = _Tally(settings)

    def describe(self) -> list[Metric]:
        """Return nothing, which spares the registry a first look at the spool."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        state = snapshot(self._settings, latest=0)
        answers, delivered = self._tally.count()
        yield _node(state)
        yield _gauge("role_up", "Whether a role runs.", "role", {r: f["running"] for r, f in state["roles"].items()})
        modes = ("live", "shadow", "supervised")
        yield _gauge("mode", "In which mode the node is.", "mode", {mode: state["mode"] == mode for mode in modes})
        yield from _door(state["roles"]["receive"].get("door"))
        yield _gauge("tasks", "Tasks by state.", "state", state["queue"])
        yield _gauge("studies", "Studies held, by the answer of their latest reading.", "answer", answers)
        yield _deliveries(state, delivered)
        ages = {found["name"]: found["oldest_s"] or 0.0 for found in state["destinations"]}
        yield _gauge("oldest_delivery_seconds", "Age of the oldest open delivery.", "destination", ages)
        yield GaugeMetricFamily("cxr_node_spool_free_bytes", "Room on the spool's disk.", state["disk"]["free_bytes"])
        reserve = "Room on it that is kept for results; with less than that left, new images are refused."
        yield GaugeMetricFamily("cxr_node_spool_reserve_bytes", reserve, state["disk"]["reserve_bytes"])
        oldest = "Age of the oldest results that wait for a person to release them."
        yield GaugeMetricFamily("cxr_node_oldest_unreleased_seconds", oldest, state["unreleased"]["oldest_s"] or 0.0)
        late = {each["receiver"]: each["waiting"] for each in state["notices"]}
        yield _gauge("notices_waiting", "Messages that a receiver has not taken yet.", "receiver", late)
        yield from _refused(state)
        until = {each["section"]: each["expires"] for each in state["certificates"] if each["expires"]}
        left = {section: days_left(datetime.fromisoformat(moment)) for section, moment in until.items()}
        yield _gauge("certificate_days_left", "Days until a certificate of the node's expires.", "section", left)


def _node(state: Form) -> Metric:
    model = state["model"]
    family = GaugeMetricFamily(
        "cxr_node_info", "Which node and which model this is.", labels=("version", "model_version", "weights")
    )
    family.add_metric((state["version"], model["version"] or "", model["weights"] or ""), 1)
    return family


def _gauge(name: str, meaning: str, label: str, values: Form) -> Metric:
    family = GaugeMetricFamily(f"cxr_node_{name}", meaning, labels=(label,))
    for which, value in values.items():
        family.add_metric((which,), float(value))
    return family


def _door(door: Form | None) -> Iterator[Metric]:
    """Yield how the receiver's door does, as it said some seconds ago; nothing while it does not run."""
    if not door:
        return
    now = {state: door[state] for state in ("pending", "established")}
    yield _gauge("connections", "DICOM connections without an association yet, and associations.", "state", now)
    family = CounterMetricFamily(
        "cxr_node_turned_away", "Connections and associations that the door ended.", labels=("how", "reason")
    )
    for how in ("cut", "rejected", "violations"):
        for reason, count in door[how].items():
            family.add_metric((how, reason), count)
    family.add_metric(("evicted", "silent"), door["evicted"])
    yield family


def _refused(state: Form) -> Iterator[Metric]:
    """Yield what was refused and is kept; and what the receiver counted, as it said some seconds ago."""
    kept = state["quarantine"]
    yield GaugeMetricFamily("cxr_node_quarantine_instances", "Refused instances that are kept.", kept["count"])
    yield GaugeMetricFamily("cxr_node_quarantine_bytes", "Room that they take.", kept["bytes"])
    tally = state["roles"]["receive"].get("tally")
    if not tally:
        return
    family = CounterMetricFamily("cxr_node_instances_refused", "Instances refused, by status.", labels=("status",))
    for status, count in tally["refused"].items():
        family.add_metric((status,), count)
    yield family
    yield CounterMetricFamily(
        "cxr_node_studies_forgotten", "Studies deleted from the spool as their time was up.", tally["forgotten"]
    )


def _deliveries(state: Form, delivered: Counter[str]) -> Metric:
    family = GaugeMetricFamily(
        "cxr_node_deliveries", "Deliveries of studies held, by what became of them.", labels=("destination", "state")
    )
    for found in state["destinations"]:
        for name in OPEN_STATES:
            family.add_metric((found["name"], name), found[name])
        family.add_metric((found["name"], "delivered"), delivered[found["name"]])
    return family


class _Known(NamedTuple):
    """What was found of a study's latest reading, when its folder had last changed, and whether it was busy then."""

    changed: float
    busy: bool
    answer: str
    delivered: frozenset[str]


class _Tally:
    """Counts all studies held; of those that are through, only the folder's time is asked again."""

    def __init__(self, settings: Settings) -> None:
        self._destinations = [destination.name for destination in settings.destinations]
        self._spool = Spool(settings.spool.folder)
        self._known: dict[str, _Known] = {}

    def count(self) -> tuple[dict[str, int], Counter[str]]:
        """Return how many studies have each answer, and how many have been delivered to each destination."""
        # Asked before the look: of a study that is through now, the look finds everything.
        busy = set(self._busy())
        held = self._spool.studies()
        self._known = {key: known for key in held if (known := self._look(key, key in busy))}
        answers = Counter(known.answer for known in self._known.values())
        delivered = Counter(name for known in self._known.values() for name in known.delivered)
        return {str(answer): answers[answer] for answer in Triage}, delivered

    def _busy(self) -> Iterator[str]:
        """Yield the studies with something still to do."""
        for state in STATES:
            yield from (task.study_key for task in self._spool.agenda.tasks(state))
        for name in self._destinations:
            yield from (entry["study"] for entry in self._spool.outbox.open_deliveries(name))

    def _look(self, key: str, busy: bool) -> _Known | None:
        changed = changed_at(self._spool.study_folder(key))
        known = self._known.get(key)
        if known and known.changed == changed and not busy and not known.busy and time.time() - changed > QUIET_S:
            return known
        with contextlib.suppress(FileNotFoundError):
            for generation in reversed(self._spool.generations(key)):
                reading = self._spool.reading(key, generation.name)
                if reading is not None:
                    return _Known(changed, busy, str(reading.triage), self._delivered(key, generation.name))
        return None

    def _delivered(self, key: str, generation: str) -> frozenset[str]:
        entries = {name: self._spool.outbox.delivery(name, key, generation) for name in self._destinations}
        return frozenset(name for name, entry in entries.items() if entry and entry["state"] == "delivered")
