"""What the training tests share."""

import importlib.util
import os

import pytest


@pytest.fixture
def other_backend():
    """Ask for a Keras backend beside TensorFlow; where it is not installed the test is skipped, and fails under CI."""

    def ask(name):
        if importlib.util.find_spec(name) is None:
            if os.environ.get("CI") == "true":
                pytest.fail(f"{name} is not installed: `make backends` installs it")
            pytest.skip(f"{name} is not installed: `make backends` installs it")

    return ask
