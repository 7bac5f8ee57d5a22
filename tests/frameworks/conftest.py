"""Shared by the tests of other people's frameworks."""

import jax
import pytest


@pytest.fixture
def quick_compilation():
    """Programs that run twice: compiling them is what takes the time."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
