"""The comparison of meta-gradients: its files, and whether its yardsticks are right."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from auxjax.run import RunError
from tests._scripts import load_script


@pytest.fixture(scope="module")
def scripts(experiments):
    """The experiment's modules."""
    from meta_gradients import measure, methods, networks, problem, visits

    return {
        "main": load_script("meta_gradients"),
        "measure": measure,
        "methods": methods,
        "networks": networks,
        "problem": problem,
        "visits": visits,
    }


@pytest.fixture(scope="module")
def smoke(scripts, tmp_path_factory):
    """The folder of a smoke run, and the numbers in it; Adam takes part too."""
    out, main = tmp_path_factory.mktemp("smoke"), scripts["main"]
    both = dataclasses.replace(main.SMALL, dtypes=("float64", "float32"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scripts["visits"], "visits", more_visits(scripts))
        patch.setattr(main, "SMALL", both)
        with jax.numpy_dtype_promotion("standard"):  # Optax's Adam counts in integers
            main.main(["--smoke", "--out", str(out)])
    folder = out / "meta_gradients-smoke"
    return folder, json.loads((folder / "meta_gradients.json").read_text())


def more_visits(scripts):
    """Beside what a smoke run measures: Adam, and a network without kinks."""
    visits, smooth = scripts["visits"].visits, scripts["networks"].SMOOTH
    known = scripts["visits"].optimizers()

    def planned(config):
        return [
            *visits(config),
            ("epsilons", smooth, config.sweep_tasks, known["momentum"]),
            ("others", "mlp", config.sweep_tasks, known["adam"]),
        ]

    return planned


def test_a_smoke_run_is_the_half_of_that(scripts):
    main, visits = scripts["main"], scripts["visits"].visits
    config = main.Config(smoke=True, models=("mlp",), **main.SMOKE)
    assert [v[:3] for v in visits(config)] == [("costs", "mlp", 2)]
    assert main.SMALL.dtypes == ("float64",)
    whole = visits(main.Config())
    assert [v[0] for v in whole].count("others") == 3
    assert len(whole) == 2 * 3 + 1 + 3


def test_a_smoke_run_writes_tables_numbers_and_figure(smoke):
    out, found = smoke
    assert found["command"].startswith("python experiments/meta_gradients.py --tasks 2")
    assert found["machine"]["cores"] >= 1
    text = (out / "meta_gradients.md").read_text()
    assert "## MLP, one step" in text
    assert "## MLP, 2 steps" in text
    assert "| 2 | finite difference |" in text
    assert "| adam | exact |" in text
    assert (out / "meta_gradients.png").stat().st_size > 20_000
    methods = {(row["steps"], row["method"]) for row in found["costs"]}
    assert len(methods) == 4 + 7
    assert len(found["costs"]) == 2 * len(methods)  # both precisions


def test_a_run_goes_on_after_the_last_problem_it_finished(
    scripts, smoke, monkeypatch, tmp_path
):
    main, (out, found) = scripts["main"], smoke
    folder = tmp_path / "meta_gradients-smoke"
    shutil.copytree(out, folder)
    (folder / "others-mlp-2-adam.json").unlink()
    made = []

    def visit(config, sizes, *problem):
        made.append(problem[:3])
        return {"others": [], "points": []}

    monkeypatch.setattr(scripts["visits"], "visits", more_visits(scripts))
    monkeypatch.setattr(scripts["visits"], "visit", visit)
    main.main(["--smoke", "--resume", "--out", str(tmp_path)])
    assert made == [("others", "mlp", 2)]
    again = json.loads((folder / "meta_gradients.json").read_text())
    assert again["costs"] == found["costs"]
    assert again["epsilons"] == found["epsilons"]


def test_the_exact_ones_are_exact_in_float64(smoke):
    """With momentum and decay, and with Adam."""
    rows = smoke[1]["costs"] + smoke[1]["others"]
    exact = [r for r in rows if r["method"] in ("exact", "exact, forward mode")]
    assert len(exact) == 8
    for row in exact:
        assert row["error"] < (1e-10 if row["dtype"] == "float64" else 1e-3), row
        assert row["cosine"] > 0.99999


def test_the_truth_itself_is_checked(smoke):
    assert [row["check"] < 1e-5 for row in smoke[1]["points"]] == [True, True]


def test_prices_are_relative_to_equal_weighting(smoke):
    for row in smoke[1]["costs"]:
        assert row["ms"] > 0
        if row["method"] == "equal weighting":
            assert row["time ratio"] == row["memory ratio"] == row["total ratio"] == 1
            assert "error" not in row
        elif row["method"] == "exact":
            assert row["total ratio"] > 1


def test_without_kinks_the_finite_difference_errs_by_epsilon_squared(smoke):
    errors = {
        row["epsilon"]: row["error"]
        for row in smoke[1]["epsilons"]
        if row["model"] == "mlp, tanh" and row["dtype"] == "float64"
    }
    assert errors[0.01] / errors[0.001] == pytest.approx(100, rel=0.1)


def test_error_and_cosine_by_hand(scripts):
    methods = scripts["methods"]
    assert methods.relative_error([3.0, 4.0], [3.0, 0.0]) == pytest.approx(4 / 3)
    assert methods.relative_error([1.0, 2.0], [1.0, 2.0]) == 0
    assert methods.cosine([3.0, 4.0], [2.0, 0.0]) == pytest.approx(0.6)


def test_the_tasks_are_sets_of_five_digits(scripts):
    problem = scripts["problem"]
    table = problem.groupings(40)
    assert table.shape == (39, 10)
    assert (table.sum(axis=1) == 5).all()
    both = np.concatenate([table, 1 - table])  # a set and its rest are one task
    assert len({tuple(row) for row in both}) == 78
    np.testing.assert_array_equal(problem.groupings(3), table[:2])
    with pytest.raises(RunError, match="Found 200"):
        problem.groupings(200)


@pytest.mark.parametrize("model", ["mlp", "vgg"])
def test_an_ignorant_model_has_the_losses_of_guessing(scripts, model):
    networks = scripts["networks"]
    shapes = jax.eval_shape(lambda: networks.init(model, 3, networks.SMALL))
    params = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    side = 16 if model == "vgg" else 8
    batch = jnp.ones((4, side, side)), jnp.arange(4)
    losses = scripts["problem"].make_losses(model, 3, networks.SMALL)
    np.testing.assert_allclose(
        jax.jit(losses)(params, batch), np.log([10, 2, 2]), rtol=1e-6
    )


@pytest.mark.parametrize("model", ["mlp", "vgg", "mlp, tanh"])
def test_the_networks_by_hand(scripts, model):
    """Trunk and heads, with NumPy; in the parameters' precision."""
    networks = scripts["networks"]
    sizes = dataclasses.replace(networks.SMALL, widths=(7, 5))
    rng = np.random.default_rng(0)
    side = 16 if model == "vgg" else 8
    images, digits = rng.normal(size=(4, side, side)), np.array([0, 3, 9, 5], np.int32)
    params = jax.jit(lambda: networks.init(model, 3, sizes))()
    with jax.enable_x64(True):
        params = scripts["problem"].cast(params, "float64")
        params = jax.tree.map(lambda x: x + 0.1 * rng.normal(size=x.shape), params)
        losses = scripts["problem"].make_losses(model, 3, sizes)
        values = jax.jit(losses)(params, (images, digits))
    assert values[0].dtype == np.float64

    def linear(layer, x):
        return x @ layer["kernel"] + layer["bias"]

    def head(layers, x):
        *hidden, last = layers.values()
        for layer in hidden:
            x = np.maximum(linear(layer, x), 0)
        return linear(last, x)

    params = jax.tree.map(np.asarray, params)
    if model == "vgg":
        x = images[..., None]
        for layer in params["trunk"].values():
            padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
            height, width = x.shape[1:3]
            x = layer["bias"] + sum(
                padded[:, i : i + height, j : j + width] @ layer["kernel"][i, j]
                for i in range(3)
                for j in range(3)
            )
            shape = (4, height // 2, 2, width // 2, 2, -1)
            x = np.maximum(x, 0).reshape(shape).max((2, 4))
        x = x.reshape(4, -1)
    else:
        x = images.reshape(4, -1)
        for layer in params["trunk"].values():
            x = linear(layer, x)
            x = np.tanh(x) if model == "mlp, tanh" else np.maximum(x, 0)
    table = scripts["problem"].groupings(3)
    heads = [params["main"]]
    heads += [jax.tree.map(lambda x, i=i: x[i], params["others"]) for i in range(2)]
    labels = [digits, *table[:, digits]]
    for value, layers, right in zip(values, heads, labels, strict=True):
        logits = head(layers, x)
        log_sum = np.log(np.exp(logits).sum(axis=1))
        expected = (log_sum - logits[np.arange(4), right]).mean()
        np.testing.assert_allclose(value, expected, rtol=1e-12)


def bowls(params, batch):
    """Two quadratic losses whose minima the batch moves."""
    return jnp.sum((params - batch) ** 2), jnp.sum((params + 2 * batch) ** 2)


START = jnp.array([1.0, -1.0])
BATCHES = jnp.array([[0.5, 0.0], [0.0, 0.25], [1.0, 1.0]])
META = jnp.array([0.2, 0.1])


def quadratic(scripts):
    sgd = optax.sgd(0.1)
    problem = scripts["problem"].Problem(bowls, START, sgd.init(START), BATCHES, META)
    return problem, scripts["measure"].Optimizer("sgd", sgd, 0.1)


def walk():
    """θ_j and every task's gradient there; λ = 0.1 for both, α = 0.1."""
    theta, path = np.array([1.0, -1.0]), []
    for batch in np.asarray(BATCHES, np.float64):
        rows = np.stack([2 * (theta - batch), 2 * (theta + 2 * batch)])
        path.append((theta, rows))
        theta = theta - 0.1 * 0.1 * rows.sum(axis=0)
    return path, theta


def test_each_approximation_is_what_it_says(scripts):
    problem, optimizer = quadratic(scripts)
    measure, path = scripts["measure"], walk()[0]
    args = measure.arguments(problem, "float32")
    programs = measure.compile_methods(problem, optimizer, args)
    rows = measure.measure_methods(*programs, args, turns=1)
    found = {row["method"]: grads for row, grads in rows if row["steps"] == 3}
    meta, end = np.asarray(META, np.float64), walk()[1]

    def toward(theta):
        return 2 * (theta - meta)  # ∇M

    expected = {
        "first order, Eq. 6": -0.1 * sum(rows @ rows[0] for _, rows in path),
        "first order, meta batch": -0.1 * sum(r @ toward(theta) for theta, r in path),
        "exact, first step only": -0.1 * path[0][1] @ toward(path[1][0]),
        "exact, last step only": -0.1 * path[2][1] @ toward(end),
    }
    # θ_N - θ* shrinks by 1 - αΣλᵢ2 = 0.96 a step, and with it what a weight did.
    decay = [0.96**2, 0.96, 1.0]
    expected["exact, forward mode"] = -0.1 * sum(
        k * r @ toward(end) for k, (_, r) in zip(decay, path, strict=True)
    )
    expected["reverse over reverse"] = expected["exact, forward mode"]
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, err_msg=name)
    assert found["equal weighting"] is None


def test_a_cast_problem_keeps_its_integers(scripts):
    tree = {"x": np.ones(2, np.float32), "count": np.zeros((), np.int32)}
    with jax.enable_x64(True):
        found = scripts["problem"].cast(tree, "float64")
    assert {k: v.dtype.name for k, v in found.items()} == {
        "x": "float64",
        "count": "int32",
    }
