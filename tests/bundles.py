"""Bundles for tests: the shipped one with other members, other files, other settings."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from node import bundle as bundles
from node.bundle import Bundle
from node.film_check import FEATURES, FilmCheck, features
from node.pixels import Plane, read_picture

# The newest one.
SHIPPED = max((Path(__file__).resolve().parents[1] / "models").glob("*/bundle.yaml")).parent


def variant(
    folder: Path,
    members: Sequence[tuple[bytes, Mapping[str, Any]]] = (),
    files: Mapping[str, bytes] | None = None,
    **about: Any,
) -> Bundle:
    """Write the shipped bundle to `folder` with changes.

    `members` are weights with changes to the architecture of the shipped first member, and have no neighbors of their own;
    `files` are added or replaced, `about` replaces in the manifest.
    """
    shipped = bundles.load(SHIPPED)
    form = asdict(shipped.manifest) | {"preprocessing": shipped.manifest.preprocessing}
    contents = {name: (SHIPPED / name).read_bytes() for name in form.pop("files")}
    form.pop("format")
    if members:
        architecture = form["members"][0]["architecture"]
        for name in (*(old["file"] for old in form["members"]), bundles.NEIGHBORS):
            contents.pop(name, None)
        form["likeness"] = None
        names = [f"members/{number}.weights.h5" for number in range(1, len(members) + 1)]
        contents |= {name: weights for name, (weights, _) in zip(names, members, strict=True)}
        form["members"] = [
            {"file": name, "architecture": architecture | changes}
            for name, (_, changes) in zip(names, members, strict=True)
        ]
    digests = [hashlib.sha256(contents[member["file"]]).hexdigest() for member in form["members"]]
    form["triage"] = form["triage"] | {"thresholds_for": bundles.weights_digest(digests)}
    return bundles.write(folder, form | about, contents | dict(files or {}))


def golden_planes() -> list[Plane]:
    """Return the golden films of the shipped bundle."""
    return [read_picture(SHIPPED / case.file) for case in bundles.load(SHIPPED).golden]


def film_check() -> bytes:
    """Return a film check that takes for a chest film what looks like the mean golden film, in the pose that does most."""
    found = np.stack([features(plane)[0] for plane in golden_planes()])
    mean = found.mean(0)
    likeness = mean / np.linalg.norm(mean)

    def number(value: float) -> np.ndarray:
        return np.array(value, np.float32)

    return FilmCheck(
        hidden_weights=likeness[:, np.newaxis],
        hidden_bias=np.zeros(1, np.float32),
        output_weights=np.ones(1, np.float32),
        output_bias=number(0),
        mean=mean,
        axes=np.zeros((FEATURES, 1), np.float32),
        # The golden films themselves reach 6.9 to 7.7, and 6.2 in a wrong pose; noise reaches 5.9.
        least_chest=number(6.5),
        most_distance=number(99),
        least_advantage=number(0.3),
        least_content=number(0.6),
    ).to_bytes()
