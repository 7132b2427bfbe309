"""What the kernel and the C library hold a process to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from node import confine

THREADS = """
import ctypes, sys, threading
from node import confine
if sys.argv[2] == "shared":
    confine.share_memory_among_threads()
gate = threading.Barrier(8)
def allocate():
    gate.wait()
    held = [bytes(1000) for _ in range(2000)]
    gate.wait()
threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(libc.fopen(sys.argv[1].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
"""


@pytest.mark.skipif(not hasattr(confine._LIBC, "mallopt"), reason="not the C library of GNU")
@pytest.mark.parametrize(("way", "is_few"), [("shared", True), ("as ever", False)])
def test_threads_share_two_heaps_where_they_are_told_to(tmp_path: Path, way: str, is_few: bool) -> None:
    told = tmp_path / "malloc.xml"
    subprocess.run([sys.executable, "-c", THREADS, told, way], check=True, timeout=60)
    assert (told.read_text().count("<heap nr=") <= 2) is is_few


FAULTS = """
import resource, sys, threading
from node import confine
if sys.argv[1] == "kept":
    confine.share_memory_among_threads()
def work():
    for _ in range(2):
        pieces = [bytearray(b"1") * 1_000_000 for _ in range(40)]
        del pieces
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    for _ in range(4):
        pieces = [bytearray(b"1") * 1_000_000 for _ in range(40)]
        del pieces
    print(resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before)
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


@pytest.mark.skipif(not hasattr(confine._LIBC, "mallopt"), reason="not the C library of GNU")
@pytest.mark.parametrize(("way", "is_kept"), [("kept", True), ("as ever", False)])
def test_a_thread_is_not_handed_the_memory_anew_that_it_has_let_go(way: str, is_kept: bool) -> None:
    done = subprocess.run([sys.executable, "-c", FAULTS, way], check=True, timeout=60, capture_output=True, text=True)
    pages = 4 * 40 * 1_000_000 // 4096
    assert (int(done.stdout) < pages // 4) is is_kept
