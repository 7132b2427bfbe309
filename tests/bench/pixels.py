"""What decoding costs, transfer syntax by transfer syntax, and that everybody decodes the same."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels import get_decoder

from node.decoders import Frame, decode
from tests.bench.images import COLUMNS, ROWS, film, new_uid
from tests.bench.measured import Amount, Measured
from tests.peers import require_peer
from tests.radiographs import write_file
from tests.syntaxes import SYNTAXES, in_transfer_syntax

PART = "pixels"
ABOUT = "Decoding a film of 2500 x 2048 pixels: the node's decoder against pydicom's plugins and DCMTK's tools."
CPU = "CPU ms an image"
# For 8 bits a pixel, which a film has not.
NOT_OF_12_BITS = {"jpeg_baseline"}
TOOLS = {"jpeg_extended": "dcmdjpeg", "jpeg_lossless": "dcmdjpeg", "jpeg_ls": "dcmdjpls", "rle": "dcmdrle"}
TOOLS |= {"jpeg_ls_near_lossless": "dcmdjpls"}
# Of what is compressed with loss, decoders may round differently.
MOST_APART = 1

# Decodes, and returns the words and the CPU time in ms.
Way = Callable[[], tuple[npt.NDArray[np.integer], float]]


def measure(folder: Path, amount: Amount, rows: int = ROWS, columns: int = COLUMNS) -> Iterator[Measured]:
    """Decode a film in each transfer syntax, in every way that there is on this machine, in turns."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (each for each in SYNTAXES if each not in NOT_OF_12_BITS):
        path = _encoded(name, folder, rows, columns)
        ways = dict(_ways(name, path))
        _hold_against_each_other(name, {subject: way()[0] for subject, way in ways.items()})
        for _ in range(amount.rounds):
            for subject, way in ways.items():
                yield Measured(name, subject, CPU, way()[1])


def _encoded(name: str, folder: Path, rows: int, columns: int) -> Path:
    source = folder / "film.dcm"
    write_file(source, film(rows, columns))
    dataset = dcmread(source)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = new_uid()
    return in_transfer_syntax(dataset, name, folder)


def _ways(name: str, path: Path) -> Iterator[tuple[str, Way]]:
    dataset = dcmread(path)
    frame = Frame(dataset.Rows, dataset.Columns, dataset.BitsAllocated)
    yield "node", partial(_timed, lambda: decode(dataset, frame))
    decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
    if decoder.is_native:
        yield "pydicom", partial(_timed, lambda: decoder.as_array(dataset, raw=True)[0])
        return
    for plugin in decoder.available_plugins if decoder.is_available else ():
        if _takes(dataset, plugin):
            yield f"pydicom, {plugin}", partial(_timed, partial(_by_plugin, dataset, plugin))
    if name in TOOLS:
        yield f"{TOOLS[name]}, a process", partial(_by_tool, TOOLS[name], path)


def _by_plugin(dataset: Dataset, plugin: str) -> npt.NDArray[np.integer]:
    decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
    words: npt.NDArray[np.integer] = decoder.as_array(dataset, raw=True, decoding_plugin=plugin)[0]
    return words


def _takes(dataset: Dataset, plugin: str) -> bool:
    """Tell whether a plugin decodes this film at all: Pillow takes no JPEG of 12 bits, for one."""
    try:
        _by_plugin(dataset, plugin)
    except RuntimeError:
        return False
    return True


def _timed(work: Callable[[], npt.NDArray[np.integer]]) -> tuple[npt.NDArray[np.integer], float]:
    began = time.process_time()
    words = work()
    return words, 1000 * (time.process_time() - began)


def _by_tool(tool: str, path: Path) -> tuple[npt.NDArray[np.integer], float]:
    """Decode by a tool of DCMTK's, which reads and writes a file, too; of its process all counts."""
    target = path.with_suffix(".decoded.dcm")
    with subprocess.Popen([require_peer(tool), str(path), str(target)]) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, tool
    return dcmread(target).pixel_array, 1000 * (usage.ru_utime + usage.ru_stime)


def _hold_against_each_other(name: str, words: dict[str, npt.NDArray[np.integer]]) -> None:
    """Fail where two decoders do not give the same picture."""
    first = next(iter(words.values())).astype(np.int32)
    for subject, each in words.items():
        apart = int(np.abs(each.astype(np.int32) - first).max())
        assert apart <= (0 if SYNTAXES[name].is_lossless else MOST_APART), (name, subject, apart)
