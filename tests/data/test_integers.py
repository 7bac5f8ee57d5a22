"""Whole numbers of NumPy's wherever one is wanted."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from auxjax._numbers import integer
from auxjax.data import _rooms, batches, digits, prefetch, random_crop_flip, rotate
from auxjax.data._rooms import render_room


@pytest.mark.parametrize("kind", [int, np.int64, np.uint8, np.array, jnp.int32])
def test_any_whole_number_becomes_pythons(kind):
    number = integer("n", kind(3), 1)
    assert type(number) is int
    assert number == 3
    with pytest.raises(ValueError, match=r"`n` should be at least 4. Found 3."):
        integer("n", kind(3), 4)


@pytest.mark.parametrize("value", [3.0, np.float32(3), "3", None, np.arange(3)])
def test_anything_else_is_refused(value):
    with pytest.raises(ValueError, match=r"`n` should be an integer. Found "):
        integer("n", value)


def test_batches():
    data = np.arange(10)
    numbers = {"seed": 3, "epoch": 1, "start": 1}
    numpy_numbers = {name: np.int64(number) for name, number in numbers.items()}
    found = [x.tolist() for x in batches(data, np.int64(3), **numpy_numbers)]
    assert found == [x.tolist() for x in batches(data, 3, **numbers)]
    with prefetch(iter([data]), np.int64(2)) as ready:
        assert len(list(ready)) == 1


def test_digits():
    _, test = digits(test_size=np.int64(50), seed=np.int32(2))
    np.testing.assert_array_equal(test.images, digits(test_size=50, seed=2)[1].images)


def test_augmentations():
    key, images = jax.random.key(0), jnp.arange(32.0).reshape(2, 4, 4, 1)
    np.testing.assert_array_equal(
        random_crop_flip(key, images, padding=np.int64(1)),
        random_crop_flip(key, images, padding=1),
    )
    np.testing.assert_array_equal(rotate(images, np.int64(90)), rotate(images, 90))
    with pytest.raises(ValueError, match=r"`padding` should be an integer. Found 1.5."):
        inspect.unwrap(random_crop_flip)(key, images, padding=1.5)


def test_rooms(tmp_path, monkeypatch):
    """One cache, whoever made the numbers, and one compiled program."""
    calls = []

    def quick(key, first, *, count, size):
        calls.append((count, size))
        return {
            name: np.zeros_like(x) for name, x in _rooms._empty(count, size).items()
        }

    monkeypatch.setattr(_rooms, "_render_some", quick)
    _rooms.rooms(2, 1, size=(4, 5), seed=3, cache_dir=tmp_path)
    sides = [np.int64(4), np.int64(5)]
    numbers = np.int64(2), np.int64(1)
    _rooms.rooms(*numbers, size=sides, seed=np.int64(3), cache_dir=tmp_path)
    assert calls == [(2, (4, 5)), (1, (4, 5))]
    with pytest.raises(ValueError, match=r"`num_train` should be an integer"):
        inspect.unwrap(_rooms.rooms)(2.0, cache_dir=tmp_path)
    shapes = jax.eval_shape(lambda key: render_room(key, sides), jax.random.key(0))
    assert shapes.label.shape == (4, 5)
