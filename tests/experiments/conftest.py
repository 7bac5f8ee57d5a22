"""What the tests of the experiments share: the scripts' folder, quick compilation."""

import sys
from pathlib import Path

import jax
import pytest

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture(scope="session")
def experiments():
    """The folder of the scripts, which are modules while the tests run."""
    sys.path.insert(0, str(EXPERIMENTS))
    yield EXPERIMENTS
    sys.path.remove(str(EXPERIMENTS))


@pytest.fixture(scope="module")
def quick_compilation():
    """Tiny programs run a few times: compiling them is what takes the time."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
