import jax
import jaxtyping
import pytest

from auxjax.rl import A2CConfig


@pytest.fixture(scope="session")
def tiny():
    """Makes configurations of the smallest networks and rollouts that say anything."""

    def make(**changes):
        sizes = {"num_envs": 4, "rollout_length": 3, "features": 8, "hidden": 8}
        return A2CConfig(**{"env": "Probe-Image", **sizes, **changes})

    return make


@pytest.fixture
def unchecked_types():
    """As users have it: nothing but the configuration itself looks at its fields."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(autouse=True, scope="module")
def quick_compilation():
    """Tiny programs run a few times: compiling them is what takes the time."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
