"""What a reading costs: the node's graph with map, spread and features, the forward pass alone, and Keras as it is mostly used.

TensorFlow stays out of the process that measures the rest: ``python -m tests.bench.inference FILMS`` prints one JSON list
a value.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.bench.measured import Amount, Measured
from tests.running import BUNDLE, REPOSITORY

PART = "inference"
ABOUT = (
    "Reading a film: the node's graph, with map, spread and features, against the forward pass alone and against Keras."
)
CASE, CPU, WALL = "one film", "CPU ms a film", "wall ms a film"
FORWARD, KERAS = "forward pass only", "Keras predict + eager GradientTape"
FILMS_A_ROUND = 6


def measure(folder: Path, amount: Amount) -> Iterator[Measured]:
    """Read the same film in three ways, in turns."""
    command = [sys.executable, "-m", "tests.bench.inference", str(FILMS_A_ROUND * amount.rounds)]
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=REPOSITORY, env=_quiet()
    )
    for line in done.stdout.splitlines():
        yield Measured(CASE, *json.loads(line))


def _quiet() -> dict[str, str]:
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "1"}  # the latter as in the worker


def _main(films: int) -> None:
    import numpy as np
    import tensorflow as tf

    from node import bundle as bundles
    from node.graph import Graph
    from node.pixels import in_channels, model_gray, read_picture
    from tests.bench.keras_way import KerasModel, forward_only

    bundle = bundles.load(BUNDLE)
    graph, forward, keras = Graph(bundle, "cpu"), forward_only(bundle), KerasModel(bundle)
    film = read_picture(bundle.folder / bundle.golden[-1].file)
    gray = model_gray(film, bundle.manifest.preprocessing)
    inputs, batch = gray[np.newaxis], in_channels(gray)[np.newaxis]

    def as_most_do() -> Any:
        probabilities = keras.predict(batch)
        keras.grad_cam(batch, 1 + int(np.argmax(probabilities[0, 1:])))
        return probabilities

    ways: dict[str, Callable[[], Any]] = {
        "node": lambda: graph(inputs).probabilities,
        FORWARD: lambda: forward(tf.constant(inputs))[0].numpy(),
        KERAS: as_most_do,
    }
    answers = [way() for way in ways.values() for _ in range(3)]  # the first passes of each are slower
    for answer in answers:
        np.testing.assert_allclose(answer, answers[0], atol=1e-4)
    for number in range(films):
        # Every second round goes backwards: Keras's gradient leaves nothing of the others in the processor's cache.
        for subject, way in reversed(ways.items()) if number % 2 else ways.items():
            began, worked = time.perf_counter(), time.process_time()
            way()
            took = 1000 * (time.process_time() - worked), 1000 * (time.perf_counter() - began)
            for quantity, value in zip((CPU, WALL), took, strict=True):
                print(json.dumps([subject, quantity, value]), flush=True)


if __name__ == "__main__":
    _main(int(sys.argv[1]))
