"""Films in the transfer syntaxes that modalities and archives send, encoded by DCMTK's tools and OpenJPEG."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000, JPEG2000Lossless

from node.durable import key_of
from tests.peers import require_peer


@dataclass(frozen=True)
class Syntax:
    """A transfer syntax: the DCMTK tool that writes it, and what has storescu propose it."""

    tool: tuple[str, ...]
    storescu_options: tuple[str, ...]
    is_lossless: bool = True


SYNTAXES = {
    "explicit": Syntax(("dcmconv", "+te"), ("-xe",)),
    "implicit": Syntax(("dcmconv", "+ti"), ("-xi",)),
    "big_endian": Syntax(("dcmconv", "+tb"), ("-xb",)),
    "deflated": Syntax(("dcmconv", "+td"), ("-xd",)),
    "rle": Syntax(("dcmcrle",), ("-xr",)),
    "jpeg_baseline": Syntax(("dcmcjpeg", "+eb", "+q", "95"), ("-xy",), is_lossless=False),
    "jpeg_extended": Syntax(("dcmcjpeg", "+ee", "+q", "95"), ("-xx",), is_lossless=False),
    "jpeg_lossless": Syntax(("dcmcjpeg", "+e1"), ("-xs",)),
    "jpeg_ls": Syntax(("dcmcjpls", "+el"), ("-xt",)),
    "jpeg_ls_near_lossless": Syntax(("dcmcjpls", "+en"), ("-xu",), is_lossless=False),
    "jpeg_2000": Syntax((JPEG2000Lossless,), ("-xv",)),
    "jpeg_2000_lossy": Syntax((JPEG2000,), ("-xw",), is_lossless=False),
}


def in_transfer_syntax(film: Dataset, name: str, folder: Path) -> Path:
    """Write an uncompressed film in one of `SYNTAXES`."""
    raw = folder / f"{key_of(film.SOPInstanceUID)}.dcm"
    film.save_as(raw, enforce_file_format=True)
    tool, *options = SYNTAXES[name].tool
    out = raw.with_suffix(f".{name}.dcm")
    if tool.startswith("1.2."):
        lossy = {"j2k_cr": [10]} if tool == JPEG2000 else {}
        film.compress(tool, encoding_plugin="pylibjpeg", generate_instance_uid=False, **lossy)
        film.save_as(out, enforce_file_format=True)
    else:
        subprocess.run([require_peer(tool), *options, str(raw), str(out)], check=True, capture_output=True)
    return out
