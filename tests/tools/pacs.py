"""PACS, node and viewer on this machine, as the containers have them, with the sample studies: ``make pacs``.

Starts Orthanc, the node and nginx with OHIF by the files in ``docker``, stores the sample studies in Orthanc, waits for the
answers, says where to click, and runs until Ctrl-C. What was written is deleted then.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from argparse import ArgumentParser
from pathlib import Path

import pytest

from node.samples import studies
from tests.hospital import SENDERS, Hospital, Ports
from tests.peers import HOST
from tests.running import study_uid

ANSWERED_WITHIN_S = 300
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    parser = ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--free-ports", action="store_true", help="take ports that nobody has, not the usual ones")
    ports = Ports.free() if parser.parse_args().free_ports else Ports()
    for number in STOP_SIGNALS:
        signal.signal(number, _stop)
    try:
        with tempfile.TemporaryDirectory(prefix="cxr-node-pacs-") as folder:
            _run(Path(folder), ports)
    except KeyboardInterrupt:
        return 0
    # What the peers of the tests raise where a program is missing, ends at once or does not answer; it says which.
    except (pytest.fail.Exception, pytest.skip.Exception) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _stop(number: int, frame: object) -> None:
    for each in STOP_SIGNALS:
        signal.signal(each, signal.SIG_IGN)  # who is impatient does not leave programs behind
    _say("Stopping.")
    raise KeyboardInterrupt


def _run(folder: Path, ports: Ports) -> None:
    started = time.monotonic()
    _say("Starting Orthanc, the node, and nginx with OHIF ...")
    with Hospital(folder, ports) as hospital:
        try:
            _answer_the_samples(hospital)
        except BaseException:
            _say(f"It did not come to the answers. What the node said last:\n{hospital.node.log.read_text()[-2000:]}")
            raise
        _say(_where_to_click(ports, time.monotonic() - started))
        while True:
            signal.pause()


def _answer_the_samples(hospital: Hospital) -> None:
    _say("Storing the sample studies in Orthanc, which forwards them to the node ...")
    hospital.load_samples()
    for sample in studies():
        hospital.node.wait_until_delivered(study_uid(sample.files[0]), within_s=ANSWERED_WITHIN_S)
        _say(f"  {sample.name} is answered")


def _where_to_click(ports: Ports, seconds: float) -> str:
    viewer = f"http://{HOST}:{ports.viewer}"
    return f"""
Ready after {seconds:.0f} s. Open in a browser:   {viewer}/
  worklist (OHIF)             {viewer}/viewer
  PACS (Orthanc Explorer)     {viewer}/orthanc/app/explorer.html
  the node's status page      http://{HOST}:{ports.status}/
A film of your own: upload it in Orthanc Explorer, or send it to ORTHANC at {HOST}:{ports.dicom}, as {SENDERS[0]}.
Research and education only, not for diagnosis. Ctrl-C stops it all; nothing is kept.
"""


def _say(words: str) -> None:
    print(words, flush=True)


if __name__ == "__main__":
    sys.exit(main())
