"""A rule that tells what it was given, and how states are compared."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax


class SeenState(NamedTuple):
    weights: Any  # [2], so that the metrics show it
    count: Any


def _tell_tale() -> optax.GradientTransformationExtraArgs:
    """Plain sum; its "weights" are the losses on the second batch."""

    def init(params):
        del params
        return SeenState(jnp.zeros(2), jnp.zeros((), jnp.int32))

    def update(updates, state, params=None, *, meta_losses):
        seen = jnp.stack([jnp.asarray(x) for x in as_values(meta_losses(params))])
        # Any number of looks must be without consequence.
        jax.grad(lambda p: as_values(meta_losses(p))[0])(params)
        total = auxjax.as_jacobian(updates, params).vjp(jnp.ones(2))
        return total, SeenState(seen, state.count + 1)

    return optax.GradientTransformationExtraArgs(init, update)


def as_values(losses):
    return list(losses.values()) if isinstance(losses, dict) else list(losses)


def _assert_same(found, expected):
    """Bit by bit, keys too."""
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    for one, other in pairs:
        assert one.dtype == other.dtype
        if jax.dtypes.issubdtype(one.dtype, jax.dtypes.prng_key):
            one, other = jax.random.key_data(one), jax.random.key_data(other)
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


@pytest.fixture
def tell_tale():
    return _tell_tale()


@pytest.fixture
def assert_same():
    return _assert_same
