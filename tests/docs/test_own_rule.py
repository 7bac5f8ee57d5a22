"""How it works: a rule of one's own, as the page writes it."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import auxjax

PAGE = Path(__file__).parents[2] / "docs" / "how_it_works.md"


def test_the_pages_rule_scales_rows_and_trains():
    section = PAGE.read_text("utf-8").split("## A rule of your own")[1]
    (code,) = re.findall(r"```python\n(.*?)```", section.split("\n## ")[0], re.DOTALL)
    names = {}
    exec(compile(code, PAGE.name, "exec"), names)

    def losses(x):
        return {"main": jnp.sum(x**2), "other": 4 * jnp.sum((x - 1) ** 2)}

    params = jnp.array([2.0])
    jac = auxjax.task_jacobian(losses, params)  # losses 4 and 4, rows 4 and 8
    rows, _ = names["scale_by_size"]().update(jac, (), params)
    np.testing.assert_allclose(rows.rows(), [[8.0], [16.0]], rtol=1e-6)
    stacked, _ = names["scale_by_size"]().update(
        jnp.array([[4.0], [8.0]]), (), params, losses=jnp.array([4.0, 4.0])
    )
    np.testing.assert_allclose(stacked, [[8.0], [16.0]], rtol=1e-6)

    @jax.jit
    def step(params, state):
        jac = auxjax.task_jacobian(losses, params)
        return names["tx"].update(jac, state, params)

    with jax.numpy_dtype_promotion("standard"):  # Optax's Adam counts in integers
        updates, _ = step(params, names["tx"].init(params))
    np.testing.assert_allclose(updates, [-1e-3], rtol=1e-4)  # Adam's first step
