"""Rows, products, norms, Gramian and Auto-λ of losses that others differentiate."""

import re

import jax
import jax.numpy as jnp
import optax
import pytest

import auxjax
from tests.frameworks import _sources_jax, _sources_models, _sources_solvers  # noqa: F401
from tests.frameworks._foreign import SOURCES, check
from tests.frameworks._pages import DOCS


def lines_of_the_page():
    """`{source: how inner products are computed}`, as the page has it."""
    page = (DOCS / "foreign_gradients.md").read_text()
    lines = re.findall(r"^\| (.*?) \| (.*?) \|$", page, re.MULTILINE)
    return dict(lines[1:])


def test_every_line_of_the_page_is_tested():
    assert list(lines_of_the_page()) == list(SOURCES)


@pytest.mark.parametrize("name", SOURCES)
def test_gradients_are_those_of_jax(name, x64, quick_compilation):
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        assert check(*SOURCES[name]()) == lines_of_the_page()[name]


ASKED = {
    "vjp": lambda jac: jac.vjp(jnp.ones(2)),
    "rows": lambda jac: jac.rows(),
    "gramian_row": lambda jac: jac.gramian_row(0),
}
RULES = {
    "gcs": auxjax.gcs(),
    "cagrad": auxjax.cagrad(),
    "autolambda": auxjax.autolambda(optax.sgd(0.1)),
}


def only_forwards():
    losses, params, args = _sources_solvers.forward_mode()
    return auxjax.task_jacobian(losses, params, *args), losses, params, args


def test_gradients_that_exist_forwards_alone():
    """`diffrax.ForwardMode`: no rule can work, and the error says why."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        jac, losses, params, args = only_forwards()
        expected = jax.jvp(
            lambda p: jnp.stack(list(losses(p, *args).values())), (params,), (params,)
        )[1]
        assert jnp.allclose(jac.jvp(params), expected)
        for ask in ASKED.values():
            with pytest.raises(ValueError, match="backward pass"):
                ask(jac)

        def other(p):
            return losses(p, *args)

        for rule in RULES.values():
            with pytest.raises(ValueError, match="backward pass"):
                rule.update(jac, rule.init(params), params, meta_losses=other)
