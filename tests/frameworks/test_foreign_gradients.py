"""Rows, products, norms, Gramian and Auto-λ of losses that others differentiate."""

import jax
import pytest

from tests.frameworks import _sources_jax, _sources_models, _sources_solvers  # noqa: F401
from tests.frameworks._foreign import SOURCES, check


@pytest.mark.parametrize("name", SOURCES)
def test_gradients_are_those_of_jax_grad(name, x64, quick_compilation):
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        check(*SOURCES[name]())
