"""Fixtures shared by all tests."""

import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from socketserver import BaseServer
from typing import TYPE_CHECKING

import pytest
import structlog

from node import log
from node.rate import Rate
from tests.peers import wait_until

if TYPE_CHECKING:
    from tests.senders import Node


_WHOLE = re.compile(r"^pytestmark = \[?\s*pytest\.mark\.(\w+)", re.MULTILINE)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Pass over files of nothing but what is not asked for: importing them alone, and TensorFlow, takes half a minute."""
    if collection_path.suffix != ".py" or not config.option.markexpr:
        return None
    of_all = _WHOLE.search(collection_path.read_text("utf-8"))
    return True if of_all and f"not {of_all[1]}" in config.option.markexpr else None


@pytest.fixture
def node(tmp_path: Path, quick_to_stop: None, all_threads_end: None) -> Iterator["Node"]:
    """Run a receiver."""
    from tests.senders import receiving  # here alone: most tests need no network

    with receiving(tmp_path / "spool") as running:
        yield running


@pytest.fixture(autouse=True)
def umask_as_it_was() -> Iterator[None]:
    """Undo what a role that is run in this process does to it."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    """Undo what a test does to the log's settings, for the stream it logs to is closed with it, and hold no line against it."""
    before, logger = structlog.get_config(), log._logger
    log._rate = Rate(log.WINDOW_S)
    yield
    structlog.configure(**before)
    log._logger = logger


@pytest.fixture
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare many instances their time on the disk: that each is durable is shown elsewhere."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def quick_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have pynetdicom look every hundredth of a second whether its server is to stop, not every half."""
    monkeypatch.setattr(BaseServer.serve_forever, "__defaults__", (0.01,))


@pytest.fixture
def all_threads_end() -> Iterator[None]:
    """Fail where a thread outlives the test."""
    before = set(threading.enumerate())
    yield
    wait_until(lambda: set(threading.enumerate()) <= before, 10, "the end of all threads")
