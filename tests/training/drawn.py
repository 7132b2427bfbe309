"""Pictures for tests: as different from each other as films of different people, and a folder of them with its manifest."""

import csv
from pathlib import Path

import cv2
import numpy as np

LABELS = ("Normal", "Pneumonia", "Tuberculosis")


def drawn(number, rows=200, columns=160):
    """Return a picture, (rows, columns) uint8; another for each number."""
    coarse = np.random.default_rng(number).random((14, 11)).astype(np.float32)
    return np.uint8(20 + 210 * cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_CUBIC).clip(0, 1))


def write_films(folder, rows, header="file,label,source,split,patient_id"):
    """Write a manifest of rows as tuples, and a picture of its own for each file that is not there yet."""
    for number, row in enumerate(rows):
        file = Path(folder, row[0])
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            cv2.imwrite(str(file), drawn(number))
    with Path(folder, "manifest.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([header.split(","), *rows])
    return Path(folder, "manifest.csv")


def every_group(sources=("here", "there"), each=2):
    """Return rows of films of every source, label and split, each a patient of its own."""
    return [
        (f"{source}/{label}-{split}-{number}.png", label, source, split, f"{label}{split}{number}")
        for source in sources
        for label in LABELS
        for split in ("train", "val", "test")
        for number in range(each)
    ]
