"""A PACS as a process of its own, which writes down whatever reaches it: ``python -m tests.soak.pacs FOLDER PORT``.

Each arrival is a line of ``FOLDER/arrivals``: study, SOP class and SOP instance UID, and the SHA-256 of the data set.
"""

from __future__ import annotations

import hashlib
import signal
import sys
import threading
from pathlib import Path

from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification

from tests.peers import HOST, Peer
from tests.running import REPOSITORY

SYNTAXES = ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.4.50"]


class RecordingPACS(Peer):
    """That process."""

    name = "pacs"
    ae_title = "PACS"

    def command(self) -> list[str]:
        program = ["env", f"PYTHONPATH={REPOSITORY}", sys.executable, "-m", "tests.soak.pacs"]
        return [*program, str(self.folder.resolve()), str(self.port)]

    def arrivals(self) -> list[tuple[str, str, str, str]]:
        """Return (study, SOP class, SOP instance UID, digest) of everything that came, repeats included."""
        file = self.folder / "arrivals"
        lines = file.read_text().splitlines() if file.exists() else []
        return [tuple(line.split()) for line in lines]  # type: ignore[misc]


def main() -> None:
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    arrivals, turn = (folder / "arrivals").open("a", buffering=1), threading.Lock()

    def store(event: evt.Event) -> int:
        dataset, request = event.dataset, event.request
        digest = hashlib.sha256(request.DataSet.getvalue()).hexdigest()
        with turn:
            arrivals.write(
                f"{dataset.StudyInstanceUID} {request.AffectedSOPClassUID} {request.AffectedSOPInstanceUID} {digest}\n"
            )
        return 0x0000

    entity = AE(RecordingPACS.ae_title)
    entity.maximum_associations = 50
    entity.add_supported_context(Verification)
    for context in AllStoragePresentationContexts:
        entity.add_supported_context(context.abstract_syntax, SYNTAXES)
    server = entity.start_server((HOST, port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    stopped.wait()
    server.shutdown()


if __name__ == "__main__":
    main()
