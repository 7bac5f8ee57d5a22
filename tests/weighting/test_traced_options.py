"""Hyper-parameters that are known only while the program runs."""

import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax
from auxjax.weighting._alias import summed
from auxjax.weighting._checks import _check_integer
from tests._rules import META, SAMPLES, TASKS, TRUNK, batches, losses, samples, start

X = batches()
SGD, FAST = optax.sgd(0.1, momentum=0.9), optax.sgd(100.0)
ahead = {"every": 1, "num_tasks": TASKS}
SKETCH = {"sketch": 1, "where": TRUNK}
OPTIONS = [  # rule, option, two values, the other options
    ("gcs", "threshold", (-1.0, 0.99), {"weighted": True, "where": TRUNK}),
    ("gcs", "ema", (0.5, 0.9), {"weighted": True, "where": TRUNK}),
    ("gcs", "ema", (0.5, 0.9), {"weighted": True, "where": TRUNK, "sketch": 1}),
    ("olaux", "learning_rate", (0.1, 0.3), {"n": 1}),
    ("olaux", "step_size", (0.1, 0.3), {"n": 1}),
    ("olaux", "init_weight", (0.5, 2.0), {"n": 1}),
    ("olaux", "init_weight", (0.5, 2.0), {"n": 1, "update": "exponentiated"}),
    ("olaux", "sketch_ema", (0.5, 0.9), {"n": 1, "inner_products": "cosine", **SKETCH}),
    ("dwa", "temperature", (0.5, 2.0), {}),
    ("famo", "decay", (0.1, 3.0), {"optimizer": SGD}),
    ("famo", "lower_bound", ([0.0, 0.1, 0.0], [0.0, 0.2, 0.1]), {}),
    ("gradnorm", "alpha", (0.0, 9.0), {"optimizer": SGD, "where": TRUNK}),
    (
        "gradnorm",
        "initial_losses",
        ([1.0, 2.0, 3.0], [3.0, 1.0, 1.0]),
        {"where": TRUNK},
    ),
    ("stch", "mu", (0.5, 2.0), {}),
    ("stch", "preference", ([1.0, 2.0, 3.0], [0.0, 1.0, 1.0]), {}),
    ("stch", "nadir", ([1.0, 2.0, 3.0], [9.0, 1.0, 1.0]), {"log": True}),
    ("cosmos", "lam", (0.1, 2.0), {}),
    ("cosmos", "preference", ([1.0, 2.0, 3.0], [0.0, 1.0, 1.0]), {}),
    ("go4align", "beta", (0.1, 5.0), {}),
    ("igb", "base_losses", ([1.0, 2.0, 3.0], [3.0, 1.0, 1.0]), {}),
    ("modo", "learning_rate", (0.0, 0.5), {"where": TRUNK}),
    ("modo", "regularisation", (0.0, 5.0), {"where": TRUNK}),
    ("pbi", "theta", (0.1, 5.0), {}),
    ("pbi", "preference", ([1.0, 2.0, 3.0], [0.0, 1.0, 1.0]), {}),
    ("pbi", "ideal", ([0.1, 0.2, 0.3], [0.0, -1.0, 0.1]), {}),
    ("uncertainty", "init_log_variance", (0.5, -1.0), {"optimizer": SGD}),
    ("revised_uncertainty", "init_log_variance", (0.5, -1.0), {"optimizer": SGD}),
    ("imtl_l", "init_log_scale", (0.5, -1.0), {"optimizer": SGD}),
    ("excess_mtl", "learning_rate", (0.1, 1.0), {"where": TRUNK}),
    ("excess_mtl", "eps", (1e-7, 1.0), {"where": TRUNK, "learning_rate": 0.5}),
    ("balance_at", "weights", ([1.0, 2.0, 3.0], [3.0, 1.0, 1.0]), {"where": TRUNK}),
    ("balance_at", "reference", (1.0, 3.0), {"where": TRUNK}),
    ("balance_at", "decay", (0.0, 0.9), {"where": TRUNK}),
    ("balance_at", "eps", (0.0, 1.0), {"where": TRUNK}),
    ("balance_at", "max_ratio", (0.1, 10.0), {"where": TRUNK}),
    ("dga", "learning_rate", (0.1, 1.0), {"where": TRUNK}),
    ("dga", "ema", (0.0, 0.9), {"where": TRUNK}),
    ("dga", "total", (1.0, 3.0), {"where": TRUNK}),
    ("dga", "main_weight", (0.0, 1.0), {"where": TRUNK}),
    ("metabalance", "relax", (0.2, 0.9), {"where": TRUNK}),
    ("metabalance", "beta", (0.0, 0.9), {"where": TRUNK}),
    ("log_loss", "offset", (0.0, 0.5), {}),
    ("fixed", "weights", ([1.0, 2.0, 3.0], [0.0, 1.0, -1.0]), {}),
    ("slgrad", "lookahead", (0.0, 0.5), {}),
    ("auxilearn", "init_weight", (0.5, 2.0), ahead),
    ("auxilearn", "step_size", (0.01, 0.1), ahead),
    ("auxilearn", "damping", (0.0, 3.0), ahead),
    ("auxinash", "preference", ([1.0, 2.0, 3.0], [3.0, 1.0, 1.0]), ahead),
    ("auxinash", "min_preference", (1e-3, 0.3333), {**ahead, "optimizer": FAST}),
    ("autolambda", "lookahead", (0.05, 0.2), {"lambda_optimizer": SGD}),
    ("autolambda", "init", (0.05, 0.2), {"lambda_optimizer": SGD}),
    (
        *("autolambda", "epsilon", (0.01, 0.5)),
        {"lambda_optimizer": SGD, "meta_gradient": "finite_difference"},
    ),
]
WITHOUT = ("log_loss", "fixed")  # no `num_tasks`


def run_steps(tx, steps):
    """The scaled rows of the last step, and everything that is remembered."""
    params = start()
    state = tx.init(params)
    for x in X[:steps]:
        more = {
            META: lambda p, x=x: losses(p, x[::-1] * 0.9),
            SAMPLES: lambda p, x=x: samples(p, x),
        }
        jac = auxjax.task_jacobian(losses, params, x)
        rows, state = tx.update(jac, state, params, **more)
    return rows.rows(), state


@pytest.mark.parametrize(("rule", "option", "values", "others"), OPTIONS)
def test_traced_under_vmap_and_injected(rule, option, values, others):
    make = getattr(auxjax, f"scale_by_{rule}")
    steps = 3 if rule in ("dwa", "famo") else 2
    if rule not in WITHOUT:
        others = {"num_tasks": TASKS, **others}
    static = set(inspect.signature(make).parameters) - {option}
    injected = optax.inject_hyperparams(make, static_args=static)

    def run(value):
        return run_steps(make(**{option: value}, **others), steps)

    @jax.jit
    def everything(traced):
        given = {option: jnp.asarray(values[1])}
        rows, state = run_steps(injected(**given, **others), steps)
        return (
            jax.vmap(run)(traced),
            [run(value) for value in values],
            (rows, state.inner_state),
        )

    batched, expected, found = everything(jnp.asarray(values, jnp.float32))
    close(found, expected[1])
    for i in range(2):
        close(jax.tree.map(lambda x, i=i: x[i], batched), expected[i])
    changed = jax.tree.map(lambda a, b: np.any(a != b), *map(numbers, expected))
    assert any(jax.tree.leaves(changed))  # the option does something


def numbers(tree):
    """Keys as their bits."""
    return [
        np.asarray(
            jax.random.key_data(x)
            if jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
            else x
        )
        for x in jax.tree.leaves(tree)
    ]


def close(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(numbers(found), numbers(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)


def test_an_option_that_is_zero_at_first_may_be_another_number_later():
    """The state has room for the cosines that a threshold of 0 does not need."""
    make = optax.inject_hyperparams(auxjax.gcs, static_args=("num_tasks", "ema"))
    tx, rows = make(threshold=0.0, num_tasks=2), jnp.array([[1.0, 0.0], [1.0, 1.0]])
    state = tx.init(jnp.zeros(2))
    update = jax.jit(lambda state: tx.update(rows, state, jnp.zeros(2)))
    gradient, state = update(state)
    np.testing.assert_array_equal(gradient, [2.0, 1.0])
    state.hyperparams["threshold"] = jnp.asarray(0.9)
    gradient, state = update(state)
    np.testing.assert_array_equal(gradient, [1.0, 0.0])


def test_fixed_weights_may_follow_a_schedule():
    make = optax.inject_hyperparams(auxjax.fixed)
    tx = make(weights=lambda count: jnp.stack([1.0, 0.5 ** count.astype(jnp.float32)]))
    rows, params = jnp.eye(2), jnp.zeros(2)
    state = tx.init(params)
    for expected in (1.0, 0.5, 0.25):
        gradient, state = jax.jit(tx.update)(rows, state, params)
        np.testing.assert_array_equal(gradient, [1.0, expected])
        weights = auxjax.task_metrics(state)["weights"]
        np.testing.assert_array_equal(weights, gradient)


def test_what_decides_the_program_cannot_be_traced():
    message = r"`n` should be an integer\. Found one that is traced: name it in `static"
    with pytest.raises(ValueError, match=message):
        jax.jit(lambda n: _check_integer("n", n))(2)


ALIASES = [n for n in auxjax.weighting.__all__ if f"scale_by_{n}" in dir(auxjax)]


@pytest.mark.parametrize("name", ALIASES)
def test_an_alias_takes_what_its_rule_takes(name):
    rule, alias = (
        inspect.signature(getattr(auxjax, x)).parameters
        for x in (f"scale_by_{name}", name)
    )
    own = {"optimizer", "reuse_lookahead", "aggregator"} if name == "autolambda" else ()
    missing = {"lookahead"} if name == "autolambda" else ()
    assert set(alias) - set(own) == set(rule) - set(missing)
    for key in set(alias) & set(rule):
        assert alias[key].default == rule[key].default, key
        assert alias[key].kind in (rule[key].kind, inspect.Parameter.KEYWORD_ONLY)


@pytest.mark.parametrize("name", ALIASES)
def test_an_alias_is_its_rule_by_another_name(name):
    """Who asks for help sees the rule's arguments, each with its explanation."""
    rule, alias = getattr(auxjax, f"scale_by_{name}"), getattr(auxjax, name)
    if name == "autolambda":  # a rule of its own, around an optimizer
        return
    assert inspect.unwrap(alias) is inspect.unwrap(rule)
    assert inspect.signature(alias) == inspect.signature(rule)
    assert (alias.__name__, alias.__qualname__) == (name, name)
    assert alias.__module__ == rule.__module__
    first, rest = alias.__doc__.split("\n", 1)
    assert f"chain(scale_by_{name}(" in first
    for option in inspect.signature(rule).parameters:
        assert f"\n  {option}: " in rest
    assert "\nReturns:\n  An aggregating transformation" in rest


def arguments_in(docstring):
    """The section `Args:`, up to the next line that is not indented."""
    _, _, rest = inspect.cleandoc(docstring).partition("\nArgs:\n")
    return re.split(r"\n\n(?=\S)", rest)[0]


@pytest.mark.parametrize("name", ALIASES)
def test_an_alias_explains_every_argument_as_its_rule_does(name):
    rule, alias = getattr(auxjax, f"scale_by_{name}"), getattr(auxjax, name)
    said = arguments_in(alias.__doc__)
    named = re.findall(r"^  \*{0,2}(\w+): ", said, re.MULTILINE)
    assert named == list(inspect.signature(alias).parameters)
    if name != "autolambda":
        assert said == arguments_in(rule.__doc__)


def test_an_alias_hands_everything_on_and_sums_the_rows():
    def scale_by_spy(n, num_tasks=2, *, factor=1.0):
        """Rows.

        Args:
          n: a number.

        Returns:
          Rows.
        """
        seen.append((n, num_tasks, factor))
        return auxjax.scale_by_fixed([factor] * num_tasks)

    @summed(scale_by_spy)
    def spy():
        """Its sum."""

    seen = []
    for tx in (spy(3, factor=2.0), spy(n=3, num_tasks=2, factor=2.0)):
        gradient, _ = tx.update(jnp.ones((2, 1)), tx.init(jnp.zeros(1)))
        np.testing.assert_array_equal(gradient, [4.0])
    assert seen == [(3, 2, 2.0)] * 2
    assert spy.__doc__.startswith("Its sum.\n\nArgs:\n  n: a number.\n\nReturns:\n")
    with pytest.raises(TypeError, match="unexpected keyword argument 'm'"):
        spy(m=3)


def test_an_alias_has_no_docstring_where_python_leaves_them_out():
    def scale_by_spy():
        pass

    @summed(scale_by_spy)
    def spy():
        pass

    assert spy.__doc__ is None
