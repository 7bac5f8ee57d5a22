"""All rules on the digits: the registry, the problem, Δ_MTL, and a small run."""

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
def runs(experiments):
    from compare_rules import run

    return run


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
        seeds=2, train_size=12, batch_size=4, epochs=2, hidden=4, turns=1
    )


@pytest.fixture(scope="module")
def problem(problems):
    return problems.prepare(2, 12, 4, 0.2)


# The registry.

NOT_COMPARED = {
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
    "gcs-weighted": (1.0, 0.0, 0.0),  # cosines with the main task of 0
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

    found = jax.jit(step)(jnp.zeros(3))
    if name in RANDOM:
        assert np.ptp(found) > 0.1
        np.testing.assert_allclose(found.sum(), 3, rtol=1e-5)
    else:
        atol = 0.006 if name.startswith("autolambda") else 1e-3  # λ's first step
        np.testing.assert_allclose(found, STEPS.get(name, ALIKE), atol=atol)


def test_fixed_weights_make_first_losses_alike(methods):
    setting = methods.Setting(2, optax.identity(), 1, first_losses=(3.0, 1.0))
    tx = RULES["fixed"](setting)
    rows, params = jnp.eye(2), jnp.zeros(2)
    found = tx.update(rows, tx.init(params), params)[0]
    np.testing.assert_allclose(found, [0.5, 1.5], rtol=1e-6)  # 3 · ½ = 1 · 3/2


def test_stch_is_the_authors_after_its_warm_up(methods):
    """T · softmax(log(L / nadir)) / L; the nadir is 2 and 1, the losses of before."""
    tx = RULES["stch"](methods.Setting(2, optax.identity(), 9))
    rows, params = jnp.eye(2), jnp.zeros(2)
    state = tx.init(params)
    for _ in range(4):
        found, state = tx.update(rows, state, params, losses=jnp.array([2.0, 1.0]))
    np.testing.assert_allclose(found, [0.5, 1.0], rtol=1e-6)
    found, _ = tx.update(rows, state, params, losses=jnp.array([1.0, 1.5]))
    # L / nadir = (½, 3/2), over their sum (¼, ¾).
    np.testing.assert_allclose(found, [2 * 0.25 / 1, 2 * 0.75 / 1.5], rtol=1e-5)


# The problem.


def test_what_leans(problems):
    """An upright bar, one that moves a pixel to the right a row, and one that sags."""
    upright = np.zeros((8, 8))
    upright[:, 3] = 1
    images = np.stack([upright, np.eye(8), np.eye(8)[::-1]]).reshape(3, 64)
    found = problems.slants(jnp.asarray(images, jnp.float32))
    np.testing.assert_allclose(found, [0, 1, -1], atol=1e-6)


def test_a_network_that_says_nothing(problems, problem):
    """Its losses are those that `first_losses` promises, over all images."""
    params = jax.tree.map(jnp.zeros_like, problem.params)
    both = jax.tree.map(
        lambda x, y: jnp.concatenate([x[0], y[0]]), problem.train, problem.test
    )
    one = jax.tree.map(lambda x: x[0], params)
    losses = problem.losses(one, both)
    assert tuple(losses) == problem.tasks
    assert problem.tasks == ("digit", "parity", "size", "loops", "slant")
    np.testing.assert_allclose([*losses.values()], problem.first_losses, rtol=1e-4)
    found = problem.metrics(one, both)
    zeros = 100 * np.mean(np.asarray(both.targets["digit"]) == 0)
    np.testing.assert_allclose(found["digit"], zeros, rtol=1e-5)  # always says 0
    rms = np.sqrt(problem.first_losses[-1])
    np.testing.assert_allclose(found["slant"], rms, rtol=1e-4)


def test_seeds_differ_and_noise_is_on_the_images_alone(problems, problem):
    clean = problems.prepare(2, 12, 4, 0.0)
    for name, target in problem.train.targets.items():
        np.testing.assert_array_equal(target, clean.train.targets[name])
    gap = problem.train.images - clean.train.images
    np.testing.assert_allclose(np.std(gap), 0.2, rtol=0.1)
    assert np.abs(gap[0] - gap[1]).max() > 0.1
    assert problem.train.images.shape == (2, 12, 64)
    assert problem.test.images.shape == (2, 1785, 64)


def test_pure_noise_is_one_task_more(problems):
    problem = problems.prepare(1, 4, 4, 0.2, noise=True)
    assert problem.tasks == (*problems.METRICS, "noise")
    params, _, _, test = jax.tree.map(lambda x: x[0], problem.seeds)
    zero = jax.tree.map(jnp.zeros_like, params)
    assert abs(float(problem.losses(zero, test)["noise"]) - 0.5) < 0.01
    assert "noise" not in problem.metrics(zero, test)


# Training.


def test_a_rule_is_given_the_batches_that_it_takes(runs, methods, problem, small):
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
    rule = methods.Rule(
        methods.WEIGHTING,
        lambda setting: tx,
        ("sample_losses", "next_losses"),
        around=True,
    )
    one = jax.tree.map(lambda x: x[0], problem.seeds[:3])
    state, steps = jax.jit(runs.learner(small, problem, rule, 2))(*one)
    assert int(state.opt_state["count"]) == 6
    assert np.ptp(steps.losses[..., 0]) > 0.01  # the batches are not alike
    np.testing.assert_allclose(state.opt_state["gaps"], 0, atol=1e-5)


def test_single_tasks_are_fixed_weights_of_one(runs, methods, problem, small):
    found = runs.single_tasks(small, problem)
    for i in (0, 4):
        weights = [float(i == j) for j in range(5)]
        rule = methods.Rule(methods.WEIGHTING, lambda _, w=weights: auxjax.fixed(w))
        other = runs.train(small, problem, rule)
        name = problem.tasks[i]
        np.testing.assert_allclose(
            found["metrics"][name], other["metrics"][name], rtol=1e-4
        )
    assert found["diverged"] == [False, False]


def test_a_rule_that_diverges_is_found_out(runs, methods, problem, small):
    endless = methods.Rule(
        methods.WEIGHTING,
        lambda _: optax.chain(auxjax.sum_tasks(), optax.scale(-1e30)),
        around=True,
    )
    assert runs.train(small, problem, endless)["diverged"] == [True, True]


# The report.


def test_delta_mtl_by_hand(report):
    """(90 − 80)/80 = 0.125, −(3 − 2)/2 = −0.5; (40 − 50)/50 = −0.2, −(1 − 4)/4."""
    found = report.delta_mtl(
        {"a": [90.0, 40.0], "b": [3.0, 1.0]}, {"a": [80.0, 50.0], "b": [2.0, 4.0]}, "b"
    )
    np.testing.assert_allclose(found, [-18.75, 27.5])


def record(report, factor, diverged=(False, False), ratio=1.0):
    """Metrics that are `factor` times those of the single tasks, per seed."""
    factor = np.broadcast_to(factor, 2)
    metrics = {name: (50 * factor).tolist() for name in report.METRICS}
    metrics["slant"] = (0.1 / factor).tolist()
    return {"metrics": metrics, "diverged": [*diverged], "time ratio": ratio}


@pytest.fixture
def records(report):
    lost = record(report, 9.0, (True, True))
    lost["metrics"]["slant"] = ["NaN", "NaN"]  # as JSON has it
    return {
        report.SINGLE: record(report, 1.0),
        "equal": record(report, [1.1, 1.3]),
        "mgda": lost,
        "pcgrad": record(report, [1.25, 1.5], (False, True), ratio=2.5),
        "olaux": record(report, [0.8, 0.8]),
    }


def test_the_best_is_first_and_who_diverged_is_not_hidden(report, records):
    found = report.deltas(records)
    assert [*found] == ["pcgrad", "equal", "olaux", "mgda"]
    # Four accuracies gain a quarter; the error, 0.1 / 1.25 = 0.08, gains a fifth.
    np.testing.assert_allclose(found["pcgrad"], [24, np.nan])
    assert np.isnan(found["mgda"]).all()
    rows = report.table(records)
    assert [row["method"] for row in rows] == [
        "pcgrad (diverged in 1 of 2)",
        "equal",
        report.SINGLE,
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


def test_what_may_be_luck(report, records):
    (said,) = report.luck(records)
    assert "above equal weighting: 0 of 3" in said
    assert "below it: 1. Were all equally good, 0.8 of either" in said


def test_a_figure_with_a_rule_that_diverged(report, records, tmp_path):
    report.draw(records, tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as image:
        assert image.format == "PNG"


# The script.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ("mgda", "adam")}, r"among equal, .*\+cagrad\. Found adam\."),
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
    assert script.Config().chosen == tuple(RULES)
    assert script.Config(methods=("mgda",)).chosen == ("equal", "mgda")


def test_a_small_run_and_what_it_keeps(script, runs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = {"seeds": 2, "train_size": 8, "batch_size": 4, "epochs": 1, "hidden": 4}
    monkeypatch.setattr(script, "SMOKE", {**small, "turns": 2})
    words = ["--smoke", "--methods", "slgrad", "famo"]
    script.main(words)
    said = capsys.readouterr()
    assert "timing" in said.err
    assert NOTHING in said.out
    assert "above equal weighting" not in said.out
    folder = tmp_path / "runs" / "compare_rules-smoke"
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    files = {f"compare_rules.{suffix}" for suffix in ("md", "json", "png")}
    files |= {"config.json", "records.json"}
    assert {path.name for path in folder.iterdir()} == files
    found = json.loads((folder / "compare_rules.json").read_text())
    assert set(found["records"]) == {"single tasks", "equal", "slgrad", "famo"}
    assert found["records"]["equal"]["time ratio"] == 1
    assert found["records"]["famo"]["ms per step"] > 0
    assert len(found["records"]["slgrad"]["metrics"]["slant"]) == 2
    assert found["records"]["equal"]["diverged"] == [False, False]
    text = (folder / "compare_rules.md").read_text()
    assert "above equal weighting" not in text
    assert "| slgrad | main + auxiliary |" in text
    assert "2 seeds, 2 steps of 4 images" in text

    # Nothing is trained again, except where it is asked for.
    def refuse(*_):
        raise ValueError("trained")

    for name in ("train", "single_tasks", "time_steps"):
        monkeypatch.setattr(runs, name, refuse)
    script.main([*words, "--quiet", "--resume"])
    again = json.loads((folder / "compare_rules.json").read_text())
    assert again["records"] == found["records"]
    with pytest.raises(ValueError, match="trained"):
        script.main([*words, "--quiet"])
    with pytest.raises(SystemExit):
        script.main([*words, "--quiet", "--resume", "--noise"])
    assert "another configuration" in capsys.readouterr().err
