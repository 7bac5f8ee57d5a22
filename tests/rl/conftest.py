import jax
import pytest

from auxjax.rl import A2CConfig


@pytest.fixture(scope="session")
def tiny():
    """Makes configurations of the smallest networks and rollouts that say anything."""

    def make(**changes):
        sizes = {"num_envs": 4, "rollout_length": 3, "features": 8, "hidden": 8}
        return A2CConfig(**{"env": "Probe-Image", **sizes, **changes})

    return make


@pytest.fixture(autouse=True, scope="module")
def quick_compilation():
    """Tiny programs run a few times: compiling them is what takes the time."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
