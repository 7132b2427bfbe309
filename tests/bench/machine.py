"""On what, when and with which versions something was measured."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.peers import PROGRAMS

LIBRARIES = ("pydicom", "pynetdicom", "highdicom", "tensorflow", "numpy", "imagecodecs", "opencv-python-headless")
_YARD = bytes(32 << 20)


def yardstick_ms() -> float:
    """Return the CPU time of a fixed piece of work, the SHA-256 of 32 MiB: on one machine it tells how busy that was."""
    began = time.process_time()
    hashlib.sha256(_YARD).digest()
    return 1000 * (time.process_time() - began)


def moment() -> dict[str, Any]:
    """Return the time, and how busy the machine is."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "load": round(os.getloadavg()[0], 1),
        "yardstick_ms": round(yardstick_ms(), 1),
    }


def machine() -> dict[str, Any]:
    """Return processor, memory, system, the file system that is written to, and versions."""
    processors = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = next(line.split()[1] for line in _lines("/proc/meminfo") if line.startswith("MemTotal"))
    return {
        "processor": processors[0] if processors else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(int(memory) / 1e6, 1),
        "system": f"{platform.system()} {platform.release()}",
        "file_system": file_system(Path(tempfile.gettempdir())),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}, **_peers()},
    }


def file_system(folder: Path) -> str:
    """Return type and options of the file system that a folder is on, as the system tells them (proc_mounts(5)).

    Whether ``discard`` is among the options decides what an fsync costs in a guest: what was deleted is then the host's
    again, and each block of a new file has to be found anew.
    """
    mounts = {
        Path(where): f"{kind} ({options})" for _, where, kind, options, *_ in map(str.split, _lines("/proc/mounts"))
    }
    return next(mounts[each] for each in (folder.resolve(), *folder.resolve().parents) if each in mounts)


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def _peers() -> dict[str, str]:
    return {"DCMTK": _said([PROGRAMS["storescp"], "--version"]), "Orthanc": _said([PROGRAMS["orthanc"], "--version"])}


def _said(command: list[str]) -> str:
    """Return the version in the first line of what a program says of itself."""
    try:
        words = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    except OSError:
        return "not installed"
    return next((word.lstrip("v") for word in words if word.lstrip("v")[:1].isdigit()), "unknown")
