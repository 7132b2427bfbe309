"""An Orthanc that says when it had stored what, in its own log, so that nobody has to ask it all the time."""

from __future__ import annotations

import re
import time
from datetime import datetime
from pathlib import Path

from tests.peers import Orthanc, wait_until

SCRIPT = """
function OnStoredInstance(id, tags, metadata, origin)
  print('stored ' .. tags['StudyInstanceUID'] .. ' ' .. tags['Modality'])
end
"""
_LINE = re.compile(rb"^W(\d{4} \d\d:\d\d:\d\d\.\d+) .*stored ([0-9.]+) (\w+)")


class WatchedOrthanc(Orthanc):
    """Orthanc as PACS, with the moment at which each object was stored."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        script = folder / "say.lua"
        script.write_text(SCRIPT)
        super().__init__(folder, options={"LuaScripts": [str(script)], "OverwriteInstances": True})
        self._read, self._stored = 0, dict[tuple[str, str], float]()

    def stored(self) -> dict[tuple[str, str], float]:
        """Return when (s, clock of the day) each modality of each study came first, by (Study Instance UID, Modality)."""
        with self.log.open("rb") as file:
            file.seek(self._read)
            while (line := file.readline()).endswith(b"\n"):
                self._read = file.tell()
                if found := _LINE.match(line):
                    self._stored.setdefault((found[2].decode(), found[3].decode()), _moment(found[1].decode()))
        return self._stored

    def wait_for(self, study_instance_uid: str, modality: str = "SR", within_s: float = 600) -> float:
        """Wait until a study has an object of a modality, and return when it came."""
        wanted = (study_instance_uid, modality)
        wait_until(lambda: wanted in self.stored(), within_s, f"{modality} stored")
        return self._stored[wanted]


def _moment(text: str) -> float:
    """Return the moment of an Orthanc log line, which is in local time and without a year."""
    return datetime.strptime(f"{time.localtime().tm_year} {text}", "%Y %m%d %H:%M:%S.%f").timestamp()
