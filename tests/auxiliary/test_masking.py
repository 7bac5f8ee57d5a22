import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from auxjax.auxiliary import masked_mean, to_float


def test_masked_mean_by_hand():
    values = jnp.array([1.0, 2.0, 6.0])
    assert masked_mean(values, jnp.array([True, False, True])) == 3.5
    # Weights: (0.5 · 1 + 1.5 · 6) / 2
    assert masked_mean(values, jnp.array([0.5, 0.0, 1.5])) == 4.75
    assert masked_mean(values, jnp.array([0, 1, 0])) == 2.0


def test_weights_below_one_are_still_normalised():
    assert masked_mean(jnp.array([4.0, 8.0]), jnp.array([0.25, 0.25])) == 6.0


def test_nothing_kept_is_zero_with_zero_gradient():
    value, gradient = jax.value_and_grad(masked_mean)(
        jnp.array([1.0, jnp.nan]), jnp.zeros(2, bool)
    )
    assert value == 0.0
    np.testing.assert_array_equal(gradient, [0.0, 0.0])


def test_masked_nan_and_infinity_do_not_count():
    values = jnp.array([jnp.nan, 3.0, jnp.inf])
    mask = jnp.array([False, True, False])
    value, gradient = jax.value_and_grad(masked_mean)(values, mask)
    assert value == 3.0
    np.testing.assert_array_equal(gradient, [0.0, 1.0, 0.0])


def test_nan_that_counts_is_not_hidden():
    assert jnp.isnan(masked_mean(jnp.array([jnp.nan, 3.0]), jnp.ones(2, bool)))


def test_masked_mean_accumulates_in_float32():
    # 1 + 2⁻¹⁰ needs ten bits of mantissa: bfloat16 has seven.
    values = jnp.array([1.0, 2.0**-10], jnp.bfloat16)
    mean = masked_mean(values, jnp.ones(2, bool))
    assert mean.dtype == jnp.float32
    assert mean == (1 + 2.0**-10) / 2


def test_masked_mean_wants_one_entry_a_transition():
    with pytest.raises(ValueError, match=r"`mask` should have shape \(3,\)"):
        inspect.unwrap(masked_mean)(jnp.zeros(3), jnp.ones((3, 1)))


@pytest.mark.parametrize("dtype", [jnp.bool_, jnp.int8, jnp.bfloat16, jnp.float32])
def test_to_float_casts(dtype):
    out = to_float(jnp.array([0, 1], dtype))
    assert out.dtype == jnp.float32
    np.testing.assert_array_equal(out, [0.0, 1.0])


def test_to_float_scales_bytes():
    out = to_float(jnp.array([0, 51, 255], jnp.uint8))
    np.testing.assert_allclose(out, [0.0, 0.2, 1.0], rtol=1e-6)


def test_to_float_keeps_float64(x64):
    assert to_float(jnp.zeros(2, jnp.float64)).dtype == jnp.float64
