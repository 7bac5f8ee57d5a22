"""The rules that balance gradients or mix helpers, with 2, 3 and 40 tasks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import auxjax

TRUNK = {"trunk": True, "heads": False}
RULES = {
    "pcd": lambda t: auxjax.pcd(0.05, t, where=TRUNK),
    "db_mtl": lambda t: auxjax.db_mtl(t, where=TRUNK),
    "metabalance": lambda t: auxjax.metabalance(t, where=TRUNK),
    "excess_mtl": lambda t: auxjax.excess_mtl(t, warmup=2, where=TRUNK),
    "balance_at": lambda t: auxjax.balance_at(TRUNK, t),
    "balance_at reference": lambda t: auxjax.balance_at(
        TRUNK, t, reference=1.0, decay=0.9
    ),
    "dga": lambda t: auxjax.dga(t, where=TRUNK),
    "dga cosine": lambda t: auxjax.dga(t, inner_products="cosine", where=TRUNK),
}


def losses(params, x):
    """One head a task on a common layer."""
    z = jnp.tanh(x @ params["trunk"])
    return jnp.mean((z @ params["heads"] - 1) ** 2, axis=0)


def problem(num_tasks, dtype):
    draw = np.random.default_rng(num_tasks)
    arrays = {
        "trunk": draw.normal(size=(5, 4)),
        "heads": draw.normal(size=(4, num_tasks)),
    }
    params = jax.tree.map(lambda x: jnp.asarray(x, dtype), arrays)
    return params, jnp.asarray(draw.normal(size=(3, 7, 5)), dtype)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("num_tasks", [2, 3, 40])
def test_three_steps_in_every_precision(name, num_tasks):
    """Stacked or not, half precision or not: about the same, and no row is lost."""
    tx = RULES[name](num_tasks)

    def run(dtype, stacked):
        params, batches = problem(num_tasks, dtype)

        def step(state, x):
            jac = auxjax.task_jacobian(losses, params, x)
            more = {"losses": jac.losses} if stacked else {}
            updates = jac.rows() if stacked else jac
            found, state = tx.update(updates, state, params, **more)
            return state, found

        return jax.jit(lambda: jax.lax.scan(step, tx.init(params), batches))()

    state, expected = run("float32", False)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves((state, expected)))
    assert np.all(np.any(np.asarray(expected["heads"]) != 0, axis=(0, 1)))
    size = np.abs(expected["trunk"]).max()
    for dtype, stacked, share in (("float32", True, 1e-4), ("bfloat16", False, 0.15)):
        _, found = run(dtype, stacked)
        assert found["trunk"].dtype == dtype
        gap = np.abs(np.asarray(found["trunk"], np.float32) - expected["trunk"])
        assert gap.max() < share * size
