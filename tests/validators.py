"""Other people's judgment of the objects the node writes: dciodvfy, DCMTK and PixelMed.

References
----------
dciodvfy and PixelMed's DicomSRValidator are David Clunie's; both know the IODs and templates of the Standard.
"""

from __future__ import annotations

import html
import re
import subprocess
import sys
from pathlib import Path

from tests.peers import require_peer

# dciodvfy takes a private coding scheme for a mistake, though PS3.16 section 8.2 allows it, and does not know Device UID
# (0018,1002) in the Contributing Equipment Sequence, where PS3.3 Table C.12-5 has it.
FALSE_ALARMS = ("99CXRTRIAGE",)


def dciodvfy_errors(path: Path) -> list[str]:
    """Lines in which dciodvfy reports an error."""
    program = Path(sys.executable).with_name("dciodvfy")
    done = subprocess.run([str(program), str(path)], capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    assert lines, "dciodvfy names at least the IOD"
    return [line for line in lines if line.startswith("Error") and not any(known in line for known in FALSE_ALARMS)]


def dsr2html(path: Path) -> str:
    """The text of the page that DCMTK makes of a report, on one line."""
    done = subprocess.run([require_peer("dsr2html"), str(path)], capture_output=True, check=True)
    return " ".join(html.unescape(re.sub("<[^>]+>", " ", done.stdout.decode("utf-8", "replace"))).split())
