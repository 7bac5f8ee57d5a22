"""All rules on the digits: the registry, the problem, Δ_MTL, and a small run."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image

import auxjax
from tests._scripts import load_script

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(EXPERIMENTS))
    from lab.rules import RULES

NOTHING = "A smoke run: its numbers say nothing."
pytestmark = pytest.mark.usefixtures("experiments", "quick_compilation")


@pytest.fixture(scope="module")
def methods(experiments):
    from lab import rules

    return rules


@pytest.fixture(scope="module")
def problems(experiments):
    from compare_rules import problem

    return problem


@pytest.fixture(scope="module")
def loop(experiments):
    from lab import loop

    return loop


@pytest.fixture(scope="module")
def report(experiments):
    from compare_rules import report

    return report


@pytest.fixture(scope="module")
def script(experiments):
    compare_rules = load_script("compare_rules")

    return compare_rules


@pytest.fixture(scope="module")
def small(script):
    return script.Config(
        seeds=2,
        train_size=12,
        batch_size=4,
        epochs=2,
        eval_every=1,
        hidden=4,
        turns=1,
        quiet=True,
    )


@pytest.fixture(scope="module")
def problem(problems, small):
    return problems.prepare(small)


def first(samples):
    """Of the first seed."""
    return jax.tree.map(lambda x: x[0], samples)


# The registry.

NOT_COMPARED = {
    "monitor_tasks",
    "sum_tasks",  # what `equal` ends in
    "accumulate_tasks",  # wraps a rule
}


def test_every_public_rule_has_its_name():
    """Whatever auxjax exports that makes a gradient transformation."""
    made = "optax.GradientTransformationExtraArgs"
    rules = {
        name.removeprefix("scale_by_")
        for name in auxjax.__all__
        if getattr(getattr(auxjax, name), "__annotations__", {}).get("return") == made
    }
    assert {"olaux", "log_loss", "nash_mtl", "accumulate_tasks"} <= rules
    parts = {part for name in RULES for part in name.split("+")}
    assert {part.split("-")[0] for part in parts} == rules - NOT_COMPARED


def test_equal_weighting_comes_first_and_kinds_are_known(methods):
    assert next(iter(RULES)) == "equal"
    assert {rule.kind for rule in RULES.values()} == set(methods.KINDS)


ALIKE = (1.0, 1.0, 1.0)
STEPS = {
    "autolambda-all": (0.1, 0.1, 0.1),  # λ's start
    "autolambda-main": (0.1, 0.1, 0.1),
    "autolambda+cagrad": (0.14, 0.14, 0.14),
    "autolambda+graddrop": (0.1, 0.1, 0.1),
    "autolambda+pcgrad": (0.1, 0.1, 0.1),
    "cagrad": (1.4, 1.4, 1.4),  # the mean and c = 0.4 of its length, times 3
    "dwa+cagrad": (1.4, 1.4, 1.4),
    "uncertainty+cagrad": (1.4, 1.4, 1.4),
    "auxinash": (3**-0.5,) * 3,  # α = (1/3) / α
    "db_mtl": (0.1, 0.1, 0.1),  # averages that begin at 0, β = 0.9
    "gcs-weighted": (1.0, 0.0, 0.0),  # cosines with the main task of 0
    "krum": (3.0, 0.0, 0.0),  # of equal scores the first
    "moco": (0.1, 0.1, 0.1),  # averages that begin at 0, β = 0.1
    "pbi": (3**-0.5,) * 3,  # along ŵ
    "pcd": (0.9996, 0.01999, 0.01999),  # τ = 0.02 each, and length 1
    "select_then_train": (-1e-3,) * 3,  # a step of the search, by its own Adam
    "slgrad": (3.0, 0.0, 0.0),
}
RANDOM = ("rlw-normal", "rlw-dirichlet")


@pytest.mark.parametrize("name", RULES)
def test_the_first_step_of_orthogonal_tasks(methods, name):
    """Three losses of 1 with gradients e₀, e₁, e₂: the sum, but for a few rules.

    Nothing but what the rule says it takes is given to it.
    """

    def losses(p):
        return {"a": 1 + p[0], "b": 1 + p[1], "c": 1 + p[2]}

    given = {
        "meta_losses": losses,
        "next_losses": losses,
        "sample_losses": lambda p: {k: v[None] for k, v in losses(p).items()},
    }
    rule = RULES[name]
    extra = {key: given[key] for key in rule.takes}
    tx = rule(
        methods.Setting(
            num_tasks=3,
            optimizer=optax.identity(),
            steps=1000,
            epoch_steps=5,
            classification=(0, 1, 2),
            key=jax.random.key(1),
        )
    )

    def step(params):
        jac = auxjax.task_jacobian(losses, params)
        with jax.numpy_dtype_promotion("standard"):
            return tx.update(jac, tx.init(params), params, **extra)[0]

    update = jax.jit(step)(jnp.zeros(3))
    if name in RANDOM:
        assert np.ptp(update) > 0.1
        np.testing.assert_allclose(update.sum(), 3, rtol=1e-5)
    else:
        atol = 0.006 if name.startswith("autolambda") else 1e-3  # λ's first step
        np.testing.assert_allclose(update, STEPS.get(name, ALIKE), atol=atol)


def test_fixed_weights_make_first_losses_alike(methods):
    setting = methods.Setting(2, optax.identity(), 1, first_losses=(3.0, 1.0))
    tx = RULES["fixed"](setting)
    rows, params = jnp.eye(2), jnp.zeros(2)
    update = tx.update(rows, tx.init(params), params)[0]
    np.testing.assert_allclose(update, [0.5, 1.5], rtol=1e-6)  # 3 · ½ = 1 · 3/2


def test_stch_is_the_authors_after_its_warm_up(methods):
    """T · softmax(log(L / nadir)) / L; the nadir is 2 and 1, the losses of before."""
    tx = RULES["stch"](methods.Setting(2, optax.identity(), 9))
    rows, params = jnp.eye(2), jnp.zeros(2)
    state = tx.init(params)
    for _ in range(4):
        update, state = tx.update(rows, state, params, losses=jnp.array([2.0, 1.0]))
    np.testing.assert_allclose(update, [0.5, 1.0], rtol=1e-6)
    update, _ = tx.update(rows, state, params, losses=jnp.array([1.0, 1.5]))
    # L / nadir = (½, 3/2), over their sum (¼, ¾).
    np.testing.assert_allclose(update, [2 * 0.25 / 1, 2 * 0.75 / 1.5], rtol=1e-5)


# The problem.


def test_what_leans(problems):
    """An upright bar, one that moves a pixel to the right a row, and one that sags."""
    upright = np.zeros((8, 8))
    upright[:, 3] = 1
    images = np.stack([upright, np.eye(8), np.eye(8)[::-1]]).reshape(3, 64)
    slopes = problems.slants(jnp.asarray(images, jnp.float32))
    np.testing.assert_allclose(slopes, [0, 1, -1], atol=1e-6)


def test_a_network_that_says_nothing(problem):
    """Its losses are those that `first_losses` promises, over all images."""
    params, _ = jax.tree.map(jnp.zeros_like, problem.init(jax.random.key(0)))
    both = jax.tree.map(
        lambda x, y: jnp.concatenate([x[0], y[0]]), problem.train, problem.test
    )
    losses, _ = problem.losses(params, None, both, None)
    assert tuple(losses) == problem.tasks
    assert problem.tasks == ("digit", "parity", "size", "loops", "slant")
    np.testing.assert_allclose([*losses.values()], problem.first_losses, rtol=1e-4)
    metrics = problem.evaluate(params, None, both)
    zeros = 100 * np.mean(np.asarray(both.targets["digit"]) == 0)
    np.testing.assert_allclose(metrics["digit"], zeros, rtol=1e-5)  # always says 0
    rms = np.sqrt(problem.first_losses[-1])
    np.testing.assert_allclose(metrics["slant"], rms, rtol=1e-4)


def test_losses_by_sample_are_what_the_losses_are_means_of(problem):
    params, _ = problem.init(jax.random.key(0))
    batch = first(problem.train)
    each, _ = problem.sample_losses(params, None, batch, None)
    means, _ = problem.losses(params, None, batch, None)
    assert {name: x.shape for name, x in each.items()} == dict.fromkeys(means, (12,))
    for name, mean in means.items():
        np.testing.assert_allclose(np.mean(each[name]), mean, rtol=1e-5)


def test_seeds_differ_and_noise_is_on_the_images_alone(problems, problem, small):
    clean = problems.prepare(dataclasses.replace(small, pixel_noise=0.0))
    for name, target in problem.train.targets.items():
        np.testing.assert_array_equal(target, clean.train.targets[name])
    gap = problem.train.images - clean.train.images
    np.testing.assert_allclose(np.std(gap), 0.2, rtol=0.1)
    assert np.abs(gap[0] - gap[1]).max() > 0.1
    assert problem.train.images.shape == (2, 12, 64)
    assert problem.test.images.shape == (2, 1785, 64)


def test_pure_noise_is_one_task_more(problems, small):
    problem = problems.prepare(dataclasses.replace(small, noise=True))
    assert problem.tasks == (*problems.METRICS, "noise")
    zero, _ = jax.tree.map(jnp.zeros_like, problem.init(jax.random.key(0)))
    test = first(problem.test)
    losses, _ = problem.losses(zero, None, test, None)
    assert abs(float(losses["noise"]) - 0.5) < 0.01
    assert "noise" not in problem.evaluate(zero, None, test)


# Training.


def test_a_rule_is_given_the_batches_that_it_takes(
    loop, methods, problem, small, tmp_path
):
    """It never moves: so the losses of the last batch are what they were then."""

    def init(params):
        return {"last": jnp.zeros(5), "gaps": jnp.zeros(2), "count": jnp.zeros((), int)}

    def update(jac, state, params, *, sample_losses, next_losses, **extra_args):
        assert "meta_losses" in extra_args
        again = jnp.stack([*next_losses(params).values()])
        samples = jnp.stack([*sample_losses(params).values()])
        assert samples.shape == (5, small.batch_size)
        late = jnp.where(state["count"] > 0, jnp.abs(again - state["last"]).max(), 0)
        now = jnp.abs(samples.mean(axis=1) - jac.losses).max()
        gaps = jnp.maximum(state["gaps"], jnp.stack([late, now]))
        new = {"last": jac.losses, "gaps": gaps, "count": state["count"] + 1}
        return jax.tree.map(jnp.zeros_like, params), new

    tx = optax.GradientTransformationExtraArgs(init, update)
    takes = ("sample_losses", "next_losses")
    rule = methods.Rule(methods.WEIGHTING, lambda _: tx, takes, around=True)
    curves, state = loop.train(problem, "still", small, tmp_path / "still", rule=rule)
    seen = state.opt_state.inner
    assert seen["count"].tolist() == [6, 6]
    assert np.ptp(seen["last"]) > 0.01  # the batches are not alike
    np.testing.assert_allclose(seen["gaps"], 0, atol=1e-5)
    np.testing.assert_array_equal(curves.test["digit"][:, 0], curves.last("digit"))


def test_single_tasks_are_fixed_weights_of_one(
    loop, methods, problems, problem, small, tmp_path
):
    alone = problems.one_network_each(problem)
    together, _ = loop.train(alone, "single", small, tmp_path / "single")
    assert together.tasks == ("sum",)
    for i in (0, 4):
        weights = [float(i == j) for j in range(5)]
        rule = methods.Rule(methods.WEIGHTING, lambda _, w=weights: auxjax.fixed(w))
        name = problem.tasks[i]
        one, _ = loop.train(problem, name, small, tmp_path / name, rule=rule)
        np.testing.assert_allclose(together.test[name], one.test[name], rtol=1e-4)


def test_a_rule_that_diverges_is_found_out(
    loop, methods, report, problem, small, tmp_path
):
    endless = methods.Rule(
        methods.WEIGHTING,
        lambda _: optax.chain(auxjax.sum_tasks(), optax.scale(-1e30)),
        around=True,
    )
    curves, _ = loop.train(problem, "endless", small, tmp_path / "it", rule=endless)
    assert np.isnan([*report.measured(curves)["metrics"].values()]).all()


def test_a_rule_draws_anew_in_every_seed(loop, problem, small, tmp_path):
    """So that the deviation over seeds has the rule's own chance in it."""
    curves, _ = loop.train(problem, "rlw-normal", small, tmp_path / "rlw")
    one, other = curves.weights
    assert np.abs(one - other).max() > 0.01
    _, state = loop.train(problem, "pcgrad", small, tmp_path / "pcgrad")
    drawn = [x for x in jax.tree.leaves(state.opt_state) if is_key(x)]
    assert drawn
    for key in drawn:
        one, other = jax.random.key_data(key).tolist()
        assert one != other


def is_key(x):
    return jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)


# The report.


def record(report, factor, ratio=1.0):
    """Metrics that are `factor` times those of the single tasks, per seed."""
    factor = np.broadcast_to(factor, 2)
    metrics = {name: (50 * factor).tolist() for name in report.METRICS}
    metrics["slant"] = (0.1 / factor).tolist()
    return {"metrics": metrics, "time ratio": ratio}


@pytest.fixture
def records(report):
    lost = record(report, np.nan)
    lost["metrics"]["slant"] = ["NaN", "NaN"]  # as JSON has it
    return {
        report.SINGLE: record(report, 1.0),
        "equal": record(report, [1.1, 1.3]),
        "mgda": lost,
        "pcgrad": record(report, [1.25, np.nan], ratio=2.5),
        "olaux": record(report, [0.8, 0.8]),
    }


def test_the_best_is_first_and_who_diverged_is_not_hidden(report, records):
    gains = report.deltas(records)
    assert [*gains] == ["pcgrad", "equal", "olaux", "mgda"]
    # Four accuracies gain a quarter; the error, 0.1 / 1.25 = 0.08, gains a fifth.
    np.testing.assert_allclose(gains["pcgrad"], [24, np.nan])
    assert np.isnan(gains["mgda"]).all()
    rows = report.table(records)
    assert [row["method"] for row in rows] == [
        "pcgrad (diverged in 1 of 2)",
        "equal",
        "single tasks",
        "olaux",
        "mgda (diverged in 2 of 2)",
    ]
    first, equal, _, olaux, last = rows
    assert first["time per step"] == "2.50×"
    assert first["Δ_MTL, %"] == "24.0 ± 0.0 (1 of 2)"
    assert first["digit ↑"] == "62.5 ± 0.0 (1 of 2)"
    assert equal["above equal"] == "–"
    assert olaux["above equal"] == "0 of 2"
    assert last["Δ_MTL, %"] == last["slant ↓"] == "–"


def test_every_seed_is_held_against_the_mean_of_the_single_tasks(report):
    """Alone 50 and 150 (0.05 and 0.15), so 100 and 0.1: the seeds' own do not count."""
    alone, equal = record(report, 1.0), record(report, 1.0)
    alone["metrics"] = {name: [50.0, 150.0] for name in report.METRICS}
    alone["metrics"]["slant"] = [0.05, 0.15]
    equal["metrics"] = {name: [110.0, 90.0] for name in report.METRICS}
    equal["metrics"]["slant"] = [0.1, 0.1]
    gains = report.deltas({report.SINGLE: alone, "equal": equal})
    np.testing.assert_allclose(gains["equal"], [8, -8])


def test_what_may_be_luck(report, records):
    (said,) = report.luck(records)
    assert "above equal weighting: 0 of 3" in said
    assert "below it: 1. Were all equally good, 0.8 of either" in said


def test_a_figure_with_a_rule_that_diverged(report, records, tmp_path):
    ratios = {name: x.get("time ratio") for name, x in records.items()}
    report.draw(report.deltas(records), ratios, tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as image:
        assert image.format == "PNG"


# The script.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"method": ("mgda", "adam")},
            r"among single, equal, .*\+cagrad, .*constant-0\.3.* Found adam\.",
        ),
        ({"seeds": 0}, r"`seeds` should be at least 1\. Found 0\."),
        ({"train_size": 1797}, r"`train_size` .* Found 1797 and 32\."),
        ({"learning_rate": 0.0}, r"`learning_rate` should be above 0\. Found 0\.0\."),
        ({"pixel_noise": -1.0}, r"`pixel_noise` should be at least 0\. Found -1\.0\."),
    ],
)
def test_configurations_that_cannot_be(script, options, message):
    with pytest.raises(ValueError, match=message):
        script.Config(**options)


def test_which_rules_take_part(script):
    assert script.Config().rules == tuple(RULES)
    assert script.Config(method=("mgda", "single")).rules == ("equal", "mgda")


def test_a_small_run_and_what_it_keeps(script, loop, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = {"seeds": 2, "train_size": 8, "batch_size": 4, "epochs": 1, "hidden": 4}
    monkeypatch.setattr(script, "SMOKE", {**small, "eval_every": 1, "turns": 2})
    words = ["--smoke", "--method", "slgrad", "famo"]
    script.main(words)
    shown = capsys.readouterr()
    assert "timing" in shown.err
    assert NOTHING in shown.out
    assert "above equal weighting" not in shown.out
    folder = tmp_path / "runs" / "compare_rules-smoke"
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    files = {f"compare_rules.{suffix}" for suffix in ("md", "json", "png")}
    files |= {"times.json", "single", "equal", "slgrad", "famo"}
    assert {path.name for path in folder.iterdir()} == files
    numbers = json.loads((folder / "compare_rules.json").read_text())
    assert set(numbers["records"]) == {"single", "equal", "slgrad", "famo"}
    assert numbers["records"]["equal"]["time ratio"] == 1
    assert numbers["records"]["famo"]["ms per step"] > 0
    assert len(numbers["records"]["slgrad"]["metrics"]["slant"]) == 2
    text = (folder / "compare_rules.md").read_text()
    assert "above equal weighting" not in text
    assert "| slgrad | main + auxiliary |" in text
    assert "2 seeds, 2 steps of 4 images" in text

    # Nothing is trained or timed again, except where it is asked for.
    def refuse(*_):
        raise ValueError("trained")

    monkeypatch.setattr(loop.Advance, "__call__", refuse)
    script.main([*words, "--quiet", "--resume"])
    again = json.loads((folder / "compare_rules.json").read_text())
    assert again["records"] == numbers["records"]
    with pytest.raises(ValueError, match="trained"):
        script.main([*words, "--quiet"])
    with pytest.raises(SystemExit):
        script.main([*words, "--quiet", "--resume", "--noise"])
    assert "another configuration" in capsys.readouterr().err


def test_a_rule_that_is_added_is_timed_beside_equal_weighting(
    script, tmp_path, monkeypatch
):
    from compare_rules import timing

    turns = []
    monkeypatch.setattr(
        timing, "take_turns", lambda p, states, rules, c: turns.append(rules) or {}
    )
    path = tmp_path / "times.json"
    path.write_text(json.dumps({"equal": {"time ratio": 1.0}}), encoding="utf-8")
    with pytest.raises(KeyError, match="mgda"):  # nothing was measured
        timing.step_times(None, {"equal": None, "mgda": None}, None, path)
    assert turns == [["mgda"]]
