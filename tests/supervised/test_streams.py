import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from auxjax.supervised import epoch_indices


def test_every_sample_once():
    indices = epoch_indices(jax.random.key(0), 12, 3)
    assert indices.shape == (4, 3)
    assert sorted(indices.reshape(-1).tolist()) == list(range(12))


def test_the_remainder_is_dropped_and_is_another_each_time():
    seen = [
        frozenset(epoch_indices(jax.random.key(i), 11, 4).reshape(-1).tolist())
        for i in range(5)
    ]
    assert {len(s) for s in seen} == {8}
    assert len(set(seen)) > 1


def test_a_pass_depends_on_its_key_alone():
    orders = [epoch_indices(jax.random.key(i), 30, 5) for i in (0, 0, 1)]
    np.testing.assert_array_equal(orders[0], orders[1])
    assert not jnp.array_equal(orders[0], orders[2])


def test_one_batch_may_hold_all():
    assert epoch_indices(jax.random.key(0), 5, 5).shape == (1, 5)


def test_numbers_of_numpy():
    key = jax.random.key(0)
    found = epoch_indices(key, np.int64(7), np.uint8(3))
    assert found.dtype == jnp.int32
    np.testing.assert_array_equal(found, epoch_indices(key, 7, 3))
    with pytest.raises(ValueError, match=r"`batch_size` should be an integer. Found"):
        inspect.unwrap(epoch_indices)(key, 7, 3.0)


@pytest.mark.parametrize(
    ("batch_size", "message"),
    [
        (0, r"`batch_size` should be at least 1\. Found 0\."),
        (8, r"`batch_size` should be at most 7, the number of samples\. Found 8\."),
    ],
)
def test_errors(batch_size, message):
    with pytest.raises(ValueError, match=message):
        epoch_indices(jax.random.key(0), 7, batch_size)
