"""Worlds where 64 bits are switched on: the types stay those of 32."""

import jax
import numpy as np
import pytest

from auxjax.envs import Discrete, make

NAMES = (
    "Breakout-MinAtar",
    "Asterix-MinAtar",
    "Freeway-MinAtar",
    "SpaceInvaders-MinAtar",
    "Seaquest-MinAtar",
    "ALE/Pong-v5",
    "brax/inverted_pendulum",
    "Probe-Image",
    "Probe-DiscountedValue",
)


def _play(env, steps):
    """Actions as an agent gives them, of the width that is the default."""
    space = env.action_space

    def body(state, key):
        if isinstance(space, Discrete):
            action = jax.random.randint(key, (2,), 0, space.n)
        else:
            action = jax.random.uniform(key, (2, *space.shape))
        return env.step(key, state, action)

    def play(key):
        state, first = env.reset(key)
        # A scan refuses a state whose types change.
        return first, jax.lax.scan(body, state, jax.random.split(key, steps))[1]

    return play


@pytest.mark.parametrize("name", NAMES)
def test_the_types_are_those_of_32_bits(name):
    with jax.enable_x64(True):
        env = make(name, 2)
        first, steps = jax.eval_shape(_play(env, 3), jax.random.key(0))
    assert first.dtype == env.observation_dtype
    assert env.observation_dtype in (np.bool_, np.uint8, np.float32)
    assert [leaf.dtype.name for leaf in steps[2:]] == [
        "float32", "bool", "bool", "bool", "float32", "int32",
    ]  # fmt: skip
