"""The sanity check on digits: its tasks, its statements, and a small run."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image

from tests._scripts import load_script

KEY = jax.random.key(0)

NOTHING = "A smoke run: its numbers say nothing."
pytestmark = pytest.mark.usefixtures("experiments", "quick_compilation")


@pytest.fixture(scope="module")
def tasks(experiments):
    from lab import digit_tasks

    return digit_tasks


@pytest.fixture(scope="module")
def problems(experiments):
    from noise import problem

    return problem


@pytest.fixture(scope="module")
def report(experiments):
    from noise import report

    return report


@pytest.fixture(scope="module")
def script(experiments):
    noise_task = load_script("noise_task")

    return noise_task


def test_the_digits_are_there(tasks):
    images, digits = tasks.load()
    assert images.shape == (1797, 64)
    assert float(images.min()) == 0
    assert float(images.max()) == 1
    assert set(digits.tolist()) == set(range(10))


def test_what_the_tasks_ask(tasks):
    images = jnp.arange(640, dtype=jnp.float32).reshape(10, 64)
    samples = tasks.draw_tasks(KEY, images, jnp.arange(10))
    asked = samples.targets
    assert tuple(asked) == ("digit", "parity", "size", "loops", "patch", "noise")
    assert asked["parity"].tolist() == [0, 1] * 5
    assert asked["size"].tolist() == [0] * 5 + [1] * 5
    assert asked["loops"].tolist() == [1, 0, 0, 0, 1, 0, 1, 0, 2, 1]
    np.testing.assert_array_equal(samples.images[:, :64], images)
    assert samples.images.shape == (10, 128)


def test_patch_and_noise_know_nothing_of_the_digit(tasks):
    """Other digits in the same places: the same patches, orientations and noise."""
    images = jnp.zeros((10, 64))
    one = tasks.draw_tasks(KEY, images, jnp.arange(10))
    other = tasks.draw_tasks(KEY, images + 1, jnp.full(10, 3))
    np.testing.assert_array_equal(one.images[:, 64:], other.images[:, 64:])
    for name in ("patch", "noise"):
        np.testing.assert_array_equal(one.targets[name], other.targets[name])


def test_the_noise_is_uniform_and_another_for_each_image(tasks):
    noise = tasks.draw_tasks(KEY, *tasks.load()).targets["noise"]
    assert noise.shape == (1797, 64)
    assert 0 <= float(noise.min()) < 0.001
    assert 0.999 < float(noise.max()) < 1
    np.testing.assert_allclose(np.mean(noise), 0.5, atol=0.005)
    np.testing.assert_allclose(np.var(noise), 1 / 12, atol=0.002)
    assert abs(np.corrcoef(noise[0], noise[1])[0, 1]) < 0.5


def test_the_bars_lie_as_they_are_labelled(tasks):
    """The axis along which a bar is longest, from its second moments."""
    patches, orientation = tasks.draw_patches(KEY, 400)
    assert set(orientation.tolist()) == set(range(8))
    weights = np.asarray(patches, np.float64).reshape(-1, 8, 8) ** 4
    weights /= weights.sum(axis=(1, 2), keepdims=True)
    y, x = np.mgrid[:8, :8] - 3.5
    x = x - (weights * x).sum(axis=(1, 2), keepdims=True)
    y = y - (weights * y).sum(axis=(1, 2), keepdims=True)
    cross, along = (weights * x * y).sum((1, 2)), (weights * (x**2 - y**2)).sum((1, 2))
    angle = np.arctan2(2 * cross, along) / 2
    gap = (angle - np.asarray(orientation) * np.pi / 8 + np.pi / 2) % np.pi - np.pi / 2
    assert np.abs(gap).max() < np.pi / 8
    assert np.abs(gap).mean() < np.pi / 32


def test_a_split_loses_nothing(tasks):
    images = jnp.arange(640, dtype=jnp.float32).reshape(10, 64)
    samples = tasks.draw_tasks(KEY, images, jnp.arange(10))
    train, test = tasks.split(KEY, samples, 4)
    parts = [train.targets["digit"], test.targets["digit"]]
    assert [len(part) for part in parts] == [4, 6]
    assert sorted(np.concatenate(parts).tolist()) == list(range(10))
    # Image and target move together: image i begins with 64 i.
    np.testing.assert_array_equal(train.images[:, 0] / 64, parts[0])


def test_wrong_digits_leave_the_helpers_right(tasks):
    samples = tasks.draw_tasks(KEY, *tasks.load())
    before = samples.targets
    for share, expected in ((0.0, 0.0), (0.5, 0.45)):  # one in ten is right by chance
        after = tasks.corrupt(KEY, samples, share).targets
        wrong = np.mean(np.asarray(after["digit"] != before["digit"]))
        np.testing.assert_allclose(wrong, expected, atol=0.03 if share else 0)
        for name in ("parity", "size", "loops", "patch", "noise"):
            assert after[name] is before[name]


@pytest.fixture(scope="module")
def small(script):
    """Two seeds; the batch is all training images."""
    return script.Config(
        seeds=2, train_size=32, epochs=4, eval_every=2, hidden=4, quiet=True
    )


def of_seed(samples, seed=0):
    return jax.tree.map(lambda x: x[seed], samples)


def test_losses_of_a_network_that_says_nothing(problems, tasks, small):
    """All outputs 0: log of the number of classes, and the mean of |U(0, 1)|."""
    problem = problems.prepare(small)
    params, _ = jax.tree.map(jnp.zeros_like, jax.jit(problem.init)(KEY))
    samples = tasks.draw_tasks(KEY, jnp.zeros((20, 64)), jnp.arange(20) % 10)
    losses, _ = problem.losses(params, None, samples, KEY)
    assert tuple(losses) == problem.tasks == tasks.TASKS
    for name, classes in tasks.CLASSES.items():
        np.testing.assert_allclose(losses[name], np.log(classes), rtol=1e-5)
    np.testing.assert_allclose(
        losses["noise"], samples.targets["noise"].mean(), rtol=1e-5
    )
    right = problem.evaluate(params, None, samples)
    np.testing.assert_allclose(right["digit"], 10, rtol=1e-5)  # always says 0
    np.testing.assert_allclose(right["parity"], 50, rtol=1e-5)


def test_pixel_noise_is_in_the_losses_alone(problems, small):
    problem = problems.prepare(small)
    params, _ = jax.jit(problem.init)(KEY)
    batch, losses = of_seed(problem.train), jax.jit(problem.losses)
    one, other = (losses(params, None, batch, jax.random.key(i))[0] for i in (0, 1))
    assert float(one["digit"]) != float(other["digit"])
    still = problems.prepare(dataclasses.replace(small, pixel_noise=0.0))
    losses = jax.jit(still.losses)
    one, other = (losses(params, None, batch, jax.random.key(i))[0] for i in (0, 1))
    assert float(one["digit"]) == float(other["digit"])


def test_every_seed_draws_its_own(problems, small):
    problem = problems.prepare(small)
    assert problem.per_seed
    assert problem.samples == 32
    assert problem.test.images.shape == (2, 1797 - 32, 128)
    digits = np.asarray(problem.train.targets["digit"])
    assert (digits[0] != digits[1]).any()
    second = problems.prepare(dataclasses.replace(small, seeds=1, first_seed=1))
    for one, both in zip(second.train.images, problem.train.images[1:], strict=True):
        np.testing.assert_array_equal(one, both)


def test_wrong_digits_are_in_the_training_images_alone(problems, small):
    right = problems.prepare(small)
    wrong = problems.prepare(dataclasses.replace(small, label_noise=1.0))
    np.testing.assert_array_equal(right.train.images, wrong.train.images)
    changed = right.train.targets["digit"] != wrong.train.targets["digit"]
    assert 0.7 < np.mean(changed) < 1  # one in ten is right by chance
    for name, target in right.test.targets.items():
        np.testing.assert_array_equal(target, wrong.test.targets[name])


def test_who_is_primary(problems, script, tasks, small):
    assert problems.prepare(small).primary == (0,)
    everyone = dataclasses.replace(small, primary="all")
    assert problems.prepare(everyone).primary == (0, 1, 2, 3, 4)
    assert tasks.primary_tasks("all") == ("digit", "parity", "size", "loops", "patch")


def test_weights_at_the_start(experiments):
    """λ of 0.1; the others' weights are those of their losses before they move."""
    from lab.rules import Setting
    from noise.methods import EQUAL, RULES

    setting = Setting(3, optax.identity(), 100, primary=(0, 2))
    params = jnp.zeros(2)
    for method, rule in RULES.items():
        weights = optax.tree.get(rule(setting).init(params), "weights")
        expected = {"single": [1, 0, 1], "constant-0.3": [0.3] * 3}
        expected |= dict.fromkeys((EQUAL, "uncertainty", "autolambda-softmax"), [1] * 3)
        np.testing.assert_allclose(weights, expected.get(method, [0.1] * 3), rtol=1e-6)


def test_methods_have_the_names_that_they_have_elsewhere(script, capsys):
    assert script.Config(method=("autolambda",)).method == ("autolambda-main",)
    assert capsys.readouterr().err == ""
    assert script.Config(method=("alone", "equal")).method == ("single", "equal")
    assert capsys.readouterr().err == "`alone` is called `single`.\n"
    with pytest.raises(ValueError, match="`method` should be among autolambda-main, "):
        script.Config(method=("gcs",))


def made_up(report, tasks, final, *, second=None, accuracy=50.0):
    """Two seeds and two evaluations, which end with the given weights `[T]`."""
    from lab.curves import Curves

    start = np.full(6, 0.1)
    ends = np.array([final, final if second is None else second], float)
    weights = np.stack([np.stack([start, end]) for end in ends])
    right = {name: np.full((2, 2), accuracy) for name in tasks.CLASSES}
    curves = Curves(
        np.array([1, 2]), right, np.zeros_like(weights), weights, tasks.TASKS, 1.0
    )
    return report.Trained(curves, ends)


@pytest.fixture
def results(report, tasks):
    def make(exact, difference=None, uncertainty=(1,) * 6, **options):
        return {
            report.EXACT: made_up(report, tasks, exact, accuracy=80.0, **options),
            report.DIFFERENCE: made_up(report, tasks, difference or exact, **options),
            report.UNCERTAINTY: made_up(report, tasks, uncertainty, accuracy=70.0),
            report.EQUAL: made_up(report, tasks, (1,) * 6, accuracy=60.0),
            report.SINGLE: made_up(report, tasks, (1,) * 6, accuracy=90.0),
        }

    return make


def said(report, results, primaries=("digit",)):
    return [x.holds for x in report.statements(results, primaries)]


RANKED = (1.0, 0.5, 0.6, 0.7, 0.3, 0.12)


def test_statements_that_hold(report, results):
    # Training on the digit alone was better.
    assert said(report, results(RANKED)) == [True] * 8 + [False]


def test_what_was_not_trained_is_not_judged(report, results):
    everything = results(RANKED)
    some = {name: everything[name] for name in (report.EXACT, report.EQUAL)}
    assert said(report, some) == [True] * 5
    assert said(report, {report.EQUAL: everything[report.EQUAL]}) == []


@pytest.mark.parametrize(
    ("exact", "wrong"),
    [
        ((1.0, 0.5, 0.6, 0.7, 0.05, 0.12), {2}),  # noise above the unrelated task
        ((1.0, 0.2, 0.6, 0.7, 0.3, 0.12), {1}),  # one related task below it
        ((1.0, 0.5, 0.6, 0.7, 0.8, 0.6), {0, 1, 3}),
    ],
)
def test_rankings_that_do_not_hold(report, results, exact, wrong):
    verdicts = said(report, results(exact))
    assert {i for i, holds in enumerate(verdicts[:4]) if not holds} == wrong


def test_a_ranking_counts_its_seeds(report, results):
    """Above by 0.38 in the one seed, below by 0.02 in the other: half is not most."""
    final = results(RANKED, second=(1.0, 0.1, 0.6, 0.7, 0.3, 0.12))
    (first, *_) = report.statements(final, ("digit",))
    assert str(first) == (
        "λ of every related task above the noise's: does not hold "
        "(by 0.18 ± 0.28, in 1 of 2 seeds)"
    )


def test_uncertainty_that_lowers_the_noise(report, results):
    assert not said(report, results(RANKED, uncertainty=(1, 1, 1, 1, 1, 0.05)))[5]


def test_differences_that_are_far_from_exact(report, results):
    """The mean over both evaluations counts: 0 and 0.2 for the digit."""
    apart = results(RANKED, (1.2, *RANKED[1:]))
    gaps = report.weight_gaps(apart)
    np.testing.assert_allclose(gaps["digit"], 0.1, rtol=1e-6)
    assert gaps["noise"] == 0
    assert not said(report, apart)[4]


def test_with_all_tasks_primary(report, tasks, results):
    primaries = tuple(tasks.CLASSES)
    statements = report.statements(results(RANKED), primaries)
    assert statements[0].text == "λ of every primary above the noise's"
    assert len(statements) == 7
    assert said(report, results(RANKED), primaries)[0]
    assert not said(report, results((1.0, 0.5, 0.6, 0.7, 0.05, 0.12)), primaries)[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": 0}, r"`seeds` should be at least 1\. Found 0\."),
        ({"batch_size": 400}, r"`train_size` .* Found 320 and 400\."),
        ({"label_noise": 1.5}, r"`label_noise` should be a share\. Found 1\.5\."),
        ({"epochs": 30}, r"multiple of `eval_every`\. Found 30 and 20\."),
    ],
)
def test_configurations_that_cannot_be(script, options, message):
    with pytest.raises(ValueError, match=message):
        script.Config(**options)


def test_a_small_run(script, tasks, tmp_path, monkeypatch, capsys):
    """All methods, all files, and nothing where nobody asked for it."""
    from noise.methods import KNOWN

    monkeypatch.chdir(tmp_path)
    small = {"seeds": 2, "train_size": 33, "epochs": 6, "eval_every": 3, "hidden": 4}
    monkeypatch.setattr(script, "SMOKE", small)
    words = ["--smoke", "--quiet", "--primary", "all", "--method", *KNOWN]
    script.main(words)
    folder = tmp_path / "runs" / "noise_task_all-smoke"
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    files = {f"noise_task_all.{suffix}" for suffix in ("md", "json", "png")}
    assert {path.name for path in folder.iterdir()} == {*KNOWN} | files
    numbers = json.loads((folder / "noise_task_all.json").read_text())
    final = numbers["weights at the end"]
    assert final["equal"]["noise"] == [1, 1]
    assert final["single"]["noise"] == [0, 0]
    assert final["single"]["parity"] == [1, 1]
    assert final["constant-0.3"]["digit"] == pytest.approx([0.3, 0.3])
    for method in ("autolambda-softmax", "autolambda-sum"):  # their mean is held at 1
        applied = np.abs([final[method][task] for task in tasks.TASKS])
        np.testing.assert_allclose(applied.sum(axis=0), 6, rtol=1e-5)
        assert np.ptp(applied) > 0.1
    exact, difference = (
        np.array([final[method][task] for task in tasks.TASKS])
        for method in ("autolambda-main", "finite-difference")
    )
    # Six steps of about 4/6 each, from 0.1.
    assert np.all(np.abs(exact - 0.1) <= 4.3)
    assert np.abs(exact - 0.1).max() > 1
    assert 0 < np.abs(exact - difference).max() < 1
    assert len(numbers["test accuracy, %"]["equal"]["digit"]) == 2
    text = (folder / "noise_task_all.md").read_text("utf-8")
    assert "Auto-λ, exact" in text
    shown = capsys.readouterr().out
    assert "Test accuracy" in shown
    assert NOTHING in shown
    # No statement is judged by numbers like these.
    assert "hold" not in shown + text
    with Image.open(folder / "noise_task_all.png") as image:
        assert image.format == "PNG"
        assert 1000 <= image.width <= 2700

    # What is finished is not trained again, and the numbers are the same.
    def refuse(*_):
        raise AssertionError("trained")

    from lab import loop

    monkeypatch.setattr(loop.Advance, "__call__", refuse)
    script.main([*words, "--resume"])
    again = json.loads((folder / "noise_task_all.json").read_text())
    assert again["weights at the end"] == final
    assert again["test accuracy, %"] == numbers["test accuracy, %"]


def test_a_seed_trains_as_it_does_alone(script, problems, small, tmp_path):
    """With its own samples; and a stopped run goes on with the same bits."""
    from lab import loop

    problem = problems.prepare(small)
    both, state = loop.train(problem, "equal", small, tmp_path / "both")
    second = dataclasses.replace(small, seeds=1, first_seed=1)
    alone, _ = loop.train(problems.prepare(second), "equal", second, tmp_path / "alone")
    np.testing.assert_allclose(both.losses[1], alone.losses[0], rtol=1e-5)

    advance, calls = loop.Advance.__call__, []

    def once(self, state):
        calls.append(1)
        if len(calls) > 1:
            raise RuntimeError("stopped")
        return advance(self, state)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Advance, "__call__", once)
        with pytest.raises(RuntimeError, match="stopped"):
            loop.train(problem, "equal", small, tmp_path / "parts")
    going_on = dataclasses.replace(small, resume=True)
    resumed, end = loop.train(problem, "equal", going_on, tmp_path / "parts")
    np.testing.assert_array_equal(resumed.losses, both.losses)
    for one, other in zip(
        *map(jax.tree.leaves, (end.params, state.params)), strict=True
    ):
        np.testing.assert_array_equal(one, other)
