"""Blocks of labels, by hand and against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from auxjax.labelling import (
    Hierarchy,
    check_labels,
    human_labels,
    masked_softmax,
)


def test_the_masked_softmax_is_equation_5(x64):
    rng = np.random.default_rng(0)
    blocks = Hierarchy(4, 3, num_labels=12)
    z, y = rng.normal(size=(7, 12)) * 5, rng.integers(4, size=7)
    k = np.arange(12)
    m = (3 * y[:, None] <= k) & (k < 3 * (y[:, None] + 1))  # Eq. 6
    expected = np.exp(z) * m / np.sum(np.exp(z) * m, axis=1, keepdims=True)
    found = masked_softmax(jnp.asarray(z), jnp.asarray(y), blocks)
    np.testing.assert_allclose(found, expected, rtol=1e-13)
    assert (np.asarray(found)[~m] == 0).all()
    np.testing.assert_array_equal(blocks.mask(jnp.asarray(y)), m)


def test_its_derivatives_are_finite_twice():
    blocks = Hierarchy(2, 2)
    f = lambda z: jnp.sum(masked_softmax(z, jnp.array([1]), blocks) ** 3)  # noqa: E731
    z = jnp.array([[1e4, -1e4, 3.0, 4.0]])
    for derivative in (jax.grad(f), jax.jacobian(jax.grad(f))):
        assert np.isfinite(derivative(z)).all()
    assert (jax.grad(f)(z)[0, :2] == 0).all()
    assert (jax.grad(f)(z)[0, 2:] != 0).all()


def test_a_policy_over_the_block_is_the_masked_softmax():
    blocks = Hierarchy(3, 2)
    z = jax.random.normal(jax.random.key(0), (5, 6))
    y = jnp.array([0, 2, 1, 1, 0])
    own = jax.nn.softmax(blocks.block(z, y))
    whole = masked_softmax(z, y, blocks)
    np.testing.assert_allclose(own, blocks.block(whole, y), rtol=1e-6)
    np.testing.assert_allclose(jnp.sum(own, 1), jnp.ones(5), rtol=1e-6)


def test_chances_of_a_block_are_spread_over_all_labels():
    blocks, y = Hierarchy(3, 2), jnp.array([2, 0])
    found = blocks.spread(jnp.array([[0.25, 0.75], [0.5, 0.125]]), y)
    assert found.tolist() == [[0, 0, 0, 0, 0.25, 0.75], [0.5, 0.125, 0, 0, 0, 0]]
    assert blocks.block(found, y).tolist() == [[0.25, 0.75], [0.5, 0.125]]


def test_a_choice_counts_inside_the_block():
    blocks = Hierarchy(2, 3)
    y = jnp.array([1, 1, 0, 0])
    assert blocks.inside(jnp.array([4, 1, 4, 2]), y).tolist() == [4, 4, 1, 2]


def test_human_labels_of_uneven_superclasses():
    # Parity × size of the digits: blocks of three, two, two and three digits.
    digit = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    coarse = (digit % 2) + 2 * (digit > 4)
    found = human_labels(Hierarchy(4, 3), coarse, digit)
    assert found.dtype == np.int32
    assert found.tolist() == [0, 3, 1, 4, 2, 9, 6, 10, 7, 11]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Hierarchy(4, 3, 13), "should be psi × classes = 3 × 4 = 12. Found 13"),
        (lambda: Hierarchy(4, 0), "`psi` should be at least 1. Found 0"),
        (lambda: Hierarchy(0, 2), "`classes` should be at least 1. Found 0"),
        (
            lambda: masked_softmax(jnp.zeros((1, 5)), jnp.array([0]), Hierarchy(2, 2)),
            "`logits` should be 4 numbers per sample, one per label. Found 5",
        ),
        (
            lambda: check_labels(Hierarchy(2, 2), np.array([0, 1, 2])),
            "`labels` should be from 0 to 1. Found 0 to 2",
        ),
        (
            lambda: check_labels(Hierarchy(2, 2), np.array([0, -1])),
            "Found -1 to 0",
        ),
        (
            lambda: check_labels(Hierarchy(3, 2), np.array([0, 2, 0])),
            r"`labels` should hold every class of 0 … 2. Found no sample of \[1\]",
        ),
        (
            lambda: check_labels(Hierarchy(2, 2), np.array([0.0, 1.0])),
            "`labels` should be integers, one per sample. Found float64",
        ),
        (
            lambda: human_labels(
                Hierarchy(2, 2), np.array([0, 0, 0, 1]), np.array([1, 2, 3, 4])
            ),
            r"Superclass 0 should have at most psi = 2 fine labels. Found 3: \[1, 2",
        ),
        (
            lambda: human_labels(Hierarchy(2, 2), np.array([0, 1]), np.array([7, 7])),
            r"should belong to one superclass. Found \[7\] in superclasses 0 and 1",
        ),
        (
            lambda: human_labels(Hierarchy(2, 2), np.array([0, 1]), np.array([7])),
            "`fine` should be integers of shape",
        ),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
