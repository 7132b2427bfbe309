"""What began to be wrong with the node, as messages: few, however much goes wrong at once."""

from __future__ import annotations

import contextlib
import math
import time
from collections import Counter
from datetime import datetime

from node.config import Settings
from node.durable import read_json, write_json
from node.notices import Box, Form, Notice, of_faults
from node.status import ROLES, snapshot
from node.status_text import mebibytes, still_unreleased, waited
from node.tls.certificates import days_left
from node.tls.watch import WARN_DAYS

# A role that died is started again within so long (s), and the worker has its model loaded within so long.
ROLE_GONE_S, ROLE_STARTS_S = 60.0, 300.0
# A PACS that is restarted is back within so long (s).
DESTINATION_AWAY_S = 1800.0
# After a message about faults, the next is at the earliest after this (s), and tells of all that began meanwhile.
MESSAGE_EVERY_S = 600.0
_RETRY = "Mend the cause given under Parked in cxr-node status, then run cxr-node retry."

Fault = tuple[str, str]


class FaultWatch:
    """Looks at the node as the status page does, and notes messages about what began or ended to be wrong.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._receivers = [receiver.name for receiver in settings.notify if receiver.is_told("faults")]
        self._file = settings.spool.folder / "notices" / "faults.json"
        self._told: dict[str, str] = {}  # what was told and is not over, by its key
        self._parked = 0
        self._begun: Counter[str] = Counter()
        self._gone_since_s: dict[str, float] = {}
        self._pids: dict[str, int] = {}
        self._message_s = -math.inf
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError):  # not there, or spoiled by a foreign hand
            kept = read_json(self._file)
            self._told, self._parked = kept["told"], kept["parked"]

    def look(self) -> None:
        """Look once, and note a message where something is new and the last message is not too young."""
        if not self._receivers:
            return
        state = snapshot(self._settings, latest=0)
        faults = self._faults(state)
        new = [key for key in faults if key not in self._told and key not in self._begun]
        self._begun.update(new)
        over = [what for key, what in self._told.items() if key not in faults]
        now_s = time.monotonic()
        if (self._begun or over) and now_s - self._message_s >= MESSAGE_EVERY_S:
            self._note(faults, over)
            self._message_s = now_s

    def _note(self, faults: dict[str, Fault], over: list[str]) -> None:
        # What was over before anybody was told of it is told all the same: it may come again.
        told = [{"what": what, "do": do, "count": self._begun[key]} for key, (what, do) in faults.items()]
        told += [
            {"what": f"{key}: was wrong and is not any more.", "do": "Look at the log for the cause.", "count": count}
            for key, count in self._begun.items()
            if key not in faults
        ]
        message = of_faults(self._settings, told, over)
        box = Box(self._settings.spool.folder)
        for receiver in self._receivers:
            box.put(Notice(receiver, message))
        self._told, self._begun = {key: what for key, (what, _) in faults.items()}, Counter()
        write_json(self._file, {"told": self._told, "parked": self._parked})

    def _faults(self, state: Form) -> dict[str, Fault]:
        """Return what is wrong now, by a key that stays the same while it lasts."""
        found: dict[str, Fault] = {}
        self._look_at_roles(state["roles"], found)
        self._look_at_parked(state["queue"]["parked"], found)
        if state["model"]["error"]:
            found["model"] = "The model cannot be used: no study is read.", state["model"]["error"]
        for each in state["destinations"]:
            if each["waiting"] and each["last_error"] and each["oldest_s"] > DESTINATION_AWAY_S:
                what = f"{each['name']} takes no results: {each['waiting']} waiting, for {waited(each['oldest_s'])}."
                found[f"destination {each['name']}"] = what, f"{each['last_error']} The node tries again by itself."
        if state["unreleased"]["overdue"]:
            what = f"Results wait for a person: {still_unreleased(state['unreleased'])}."
            found["unreleased"] = what, "Look at them, then run cxr-node release or cxr-node withhold."
        if state["disk"]["short"]:
            what = f"The disk is short of room, new images are refused: {mebibytes(state['disk']['free_bytes'])} left."
            found["disk"] = what, "Make room, or have studies forgotten sooner (spool.keep_days, spool.keep_gb)."
        for each in state["certificates"]:
            if trouble := _certificate(each):
                found[f"certificate {each['section']}"] = trouble
        return found

    def _look_at_roles(self, roles: Form, found: dict[str, Fault]) -> None:
        now_s = time.monotonic()
        for role, consequence in ROLES.items():
            if roles[role]["running"]:
                self._gone_since_s.pop(role, None)
                pid = roles[role]["pid"]
                if self._pids.get(role, pid) != pid:  # counted each time, told with the next message
                    self._begun[f"{role} died and was started again"] += 1
                self._pids[role] = pid
                continue
            bound_s = ROLE_GONE_S if roles[role]["state"] == "stopped" else ROLE_STARTS_S
            if now_s - self._gone_since_s.setdefault(role, now_s) >= bound_s:
                what = f"{role} does not run: {consequence}."
                found[role] = what, "Start the node: cxr-node serve. If it runs, look at its log."

    def _look_at_parked(self, count: int, found: dict[str, Fault]) -> None:
        if count:
            found["parked"] = f"Waiting for a person: {count} parked.", _RETRY
        if count > self._parked:
            self._begun["parked"] += count - self._parked
        self._parked = count


def _certificate(found: Form) -> Fault | None:
    if found["error"]:
        return f"The files of {found['section']} cannot be used.", found["error"]
    if found["expires"] and days_left(datetime.fromisoformat(found["expires"])) < WARN_DAYS:
        return f"The certificate of {found['section']} expires on {found['expires'][:10]}.", "Have it renewed."
    return None
