"""What became of each result at each destination, and what Storage Commitment SCPs answered.

A delivery is one JSON file: in ``outbox/DESTINATION/`` while it is open, beside the results once it is delivered.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from node.commitment import CommitmentResult
from node.durable import FILE_MODE, key_of, make_folder, read_json, write_json

# An empty file whose time says when the destination took the results of a study last.
_LAST_SUCCESS = "last_success"
# What a person, or a program of theirs, put among ours is no delivery.
_ENTRY = re.compile(r"[0-9a-f]{32}\.[0-9a-f]{16}\.json")


class Outbox:
    """The deliveries of a spool.

    Parameters
    ----------
    folder : Path
        The spool's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        make_folder(folder / "outbox")
        make_folder(folder / "commitments")

    def post(self, destination: str, study_key: str, generation: str, entry: dict[str, Any]) -> None:
        """Write the state of a delivery; ``entry["state"]`` is waiting, committing, parked or delivered."""
        open_entry = self._open_entry(destination, study_key, generation)
        if entry["state"] == "delivered":
            write_json(self._done_entry(destination, study_key, generation), entry)
            open_entry.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # shown to people, and relied on by nothing
                make_folder(open_entry.parent)
                (open_entry.parent / _LAST_SUCCESS).touch(FILE_MODE)
        else:
            write_json(open_entry, entry)

    def delivery(self, destination: str, study_key: str, generation: str) -> dict[str, Any] | None:
        """Return the state of a delivery, None when it has not begun."""
        done = self._done_entry(destination, study_key, generation)
        for path in (done, self._open_entry(destination, study_key, generation), done):
            with contextlib.suppress(FileNotFoundError):
                return read_json(path)
        return None

    def open_deliveries(self, destination: str) -> Iterator[dict[str, Any]]:
        """Yield the deliveries of a destination that are not finished."""
        folder = self._folder / "outbox" / destination
        paths = folder.iterdir() if folder.exists() else ()
        for path in sorted(path for path in paths if _ENTRY.fullmatch(path.name)):
            with contextlib.suppress(FileNotFoundError):
                yield read_json(path)

    def last_success(self, destination: str) -> str | None:
        """Return when a destination took the results of a study last, as an ISO 8601 moment in UTC."""
        try:
            changed = (self._folder / "outbox" / destination / _LAST_SUCCESS).stat().st_mtime
        except FileNotFoundError:
            return None
        return datetime.fromtimestamp(changed, UTC).isoformat()

    def is_open(self, study_key: str, generation: str) -> bool:
        """Tell whether a delivery of a generation is not finished, also to a destination that is not configured any more."""
        folders = (self._folder / "outbox").iterdir()
        return any((folder / f"{study_key}.{generation}.json").exists() for folder in folders)

    def is_done(self, study_key: str, generation: str) -> bool:
        """Tell whether a destination has the results of a generation."""
        done = self._done_entry("any", study_key, generation).parent
        return done.exists() and any(done.glob("[!.]*.json"))

    def is_posted(self, study_key: str, generation: str) -> bool:
        """Tell whether the results of a generation have begun their way to any destination."""
        return self.is_open(study_key, generation) or self.is_done(study_key, generation)

    def expect_commitment(self, transaction_uid: str) -> None:
        """Note that a report on this transaction will be asked for."""
        write_json(self._commitment(transaction_uid), {})

    def write_commitment(self, result: CommitmentResult) -> bool:
        """Keep what a Storage Commitment SCP reported until the delivery that asked looks for it.

        Returns
        -------
        bool
            False where nobody waits for it, and it is not kept: otherwise any peer could fill the disk with reports.
        """
        if not self._commitment(result.transaction_uid).exists():
            return False
        failed = [[instance, str(status), str(status.outcome)] for instance, status in result.failed]
        write_json(self._commitment(result.transaction_uid), {"committed": list(result.committed), "failed": failed})
        return True

    def commitment(self, transaction_uid: str) -> dict[str, Any] | None:
        """Return the report on a transaction, None while there is none.

        Returns
        -------
        dict or None
            ``committed``: SOP Instance UIDs; ``failed``: (SOP Instance UID, status, outcome) each.
        """
        with contextlib.suppress(FileNotFoundError):
            return read_json(self._commitment(transaction_uid)) or None
        return None

    def forget_commitment(self, transaction_uid: str) -> None:
        """Drop a report that has been acted on."""
        self._commitment(transaction_uid).unlink(missing_ok=True)

    def _commitment(self, transaction_uid: str) -> Path:
        return self._folder / "commitments" / f"{key_of(transaction_uid)}.json"

    def _open_entry(self, destination: str, study_key: str, generation: str) -> Path:
        return self._folder / "outbox" / destination / f"{study_key}.{generation}.json"

    def _done_entry(self, destination: str, study_key: str, generation: str) -> Path:
        return self._folder / "studies" / study_key / generation / "deliveries" / f"{destination}.json"
