"""The shared loop of the supervised experiments, and three scripts that stand on it."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image

import auxjax
from tests._scripts import load_script

NOTHING = "A smoke run: its numbers say nothing."
pytestmark = pytest.mark.usefixtures("experiments", "quick_compilation")


@pytest.fixture(scope="module")
def training(experiments):
    from lab import training

    return training


@pytest.fixture(scope="module")
def loop(experiments):
    from lab import loop

    return loop


@pytest.fixture(scope="module")
def rotated(experiments):
    rotated_mnist = load_script("rotated_mnist")

    return rotated_mnist


@pytest.fixture(scope="module")
def pairs(experiments):
    class_pairs = load_script("class_pairs")

    return class_pairs


@pytest.fixture(scope="module")
def dense(experiments):
    dense_prediction = load_script("dense_prediction")

    return dense_prediction


# The shared loop.


@pytest.fixture(scope="module")
def problem(experiments):
    """Two least-squares tasks; the second has nothing to do with the first."""
    from lab.problem import Problem

    x = jnp.asarray(np.random.default_rng(0).normal(size=(12, 3)), jnp.float32)

    def sample_losses(params, state, batch, key):
        error = batch @ params["w"]
        return {"main": (error - 1.0) ** 2, "other": (error + 1.0) ** 2}, state

    def losses(*args):
        found, state = sample_losses(*args)
        return {name: jnp.mean(x) for name, x in found.items()}, state

    return Problem(
        tasks=("main", "other"),
        init=lambda key: ({"w": jax.random.normal(key, (3,))}, None),
        losses=losses,
        evaluate=lambda params, state, test: {"norm": jnp.sum(params["w"] ** 2)},
        train=x,
        test=x,
        optimizer=lambda steps: optax.sgd(0.05),
        sample_losses=sample_losses,
    )


@pytest.fixture
def config(training, tmp_path):
    return training.Training(
        seeds=2, epochs=4, eval_every=2, batch_size=4, out=tmp_path, quiet=True
    )


def test_the_papers_short_names(training, pairs, dense):
    assert training.Training(method=("multi", "gcs")).method == ("equal", "gcs")
    assert pairs.Config(method=("autolambda",)).method == ("autolambda-main",)
    found = dense.Config(method=("autolambda",)).method
    assert found == ("autolambda-all", "autolambda-main")
    with pytest.raises(ValueError, match="each once"):
        training.Training(method=("multi", "equal"))


def leaves(state):
    def plain(x):
        is_key = jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(x) if is_key else x)

    return [plain(x) for x in jax.tree.leaves(state)]


@pytest.mark.parametrize("method", ["single", "equal", "gcs", "autolambda-all"])
def test_a_stopped_run_goes_on_with_the_same_bits(loop, problem, config, method):
    whole, expected = loop.train(problem, method, config, config.out / "whole")
    folder = config.out / "parts"
    one, state = loop.train(problem, method, config, config.out / "again")
    for a, b in zip(leaves(state), leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)

    class Stop(Exception):
        pass

    advance = loop.Advance.__call__

    def once(self, state):
        if int(np.max(state.step)) > 0:
            raise Stop
        return advance(self, state)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Advance, "__call__", once)
        with pytest.raises(Stop):
            loop.train(problem, method, config, folder)
    going_on = dataclasses.replace(config, resume=True)
    curves, state = loop.train(problem, method, going_on, folder)
    for a, b in zip(leaves(state), leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(curves.test["norm"], whole.test["norm"])
    np.testing.assert_array_equal(curves.losses, whole.losses)
    assert curves.epochs.tolist() == [2, 4]
    assert np.isfinite(one.seconds)


def test_seeds_are_those_that_train_alone(loop, problem, config):
    both, _ = loop.train(problem, "equal", config, config.out / "both")
    second = dataclasses.replace(config, seeds=1, first_seed=1)
    alone, _ = loop.train(problem, "equal", second, config.out / "alone")
    np.testing.assert_allclose(both.losses[1], alone.losses[0], rtol=1e-6)
    assert not np.allclose(both.losses[0], both.losses[1])


def test_single_is_the_main_task_by_hand(loop, problem, config):
    config = dataclasses.replace(config, seeds=1, epochs=1, eval_every=1, batch_size=12)
    init_key, _ = jax.random.split(jax.random.key(0))
    w = np.asarray(problem.init(init_key)[0]["w"], np.float64)
    x = np.asarray(problem.train, np.float64)
    w = w - 0.05 * 2 * x.T @ (x @ w - 1) / 12
    _, state = loop.train(problem, "single", config, config.out / "one")
    np.testing.assert_allclose(state.params["w"][0], w, rtol=1e-5)
    _, state = loop.train(problem, "single", config, config.out / "two", task="other")
    w = np.asarray(problem.init(init_key)[0]["w"], np.float64)
    w = w - 0.05 * 2 * x.T @ (x @ w + 1) / 12
    np.testing.assert_allclose(state.params["w"][0], w, rtol=1e-5)


@pytest.mark.parametrize("method", ["slgrad", "famo"])
def test_rules_that_want_the_batch_get_it(loop, problem, config, method):
    curves, state = loop.train(problem, method, config, config.out / method)
    assert np.all(np.isfinite(curves.losses))
    np.testing.assert_array_equal(state.model_state.now.shape, (2, 4, 3))


def test_famo_is_given_the_losses_of_the_batch_before(experiments, problem):
    from lab.optimizer import with_batches

    tx = optax.GradientTransformationExtraArgs(
        lambda params: (), lambda g, s, p=None, **extra: (extra["next_losses"](p), s)
    )
    given, tx = with_batches(problem, tx, 4)
    params, state = given.init(jax.random.key(0))
    for start in (0, 4):
        batch = problem.train[start : start + 4]
        _, state = given.losses(params, state, batch, jax.random.key(0))
    jac = auxjax.task_jacobian(
        given.losses, params, state, batch, jax.random.key(0), has_aux=True
    )
    found, _ = tx.update(jac, (), params)
    expected, _ = problem.losses(params, None, batch, None)
    # `jac` passed over the last batch once more: the one before it is itself.
    np.testing.assert_allclose(found["main"], expected["main"], rtol=1e-6)


def test_without_losses_by_sample_slgrad_is_refused(loop, problem, config):
    poor = problem._replace(sample_losses=None)
    with pytest.raises(ValueError, match="weighs samples"):
        loop.train(poor, "slgrad", config, config.out / "poor")


def test_a_batch_larger_than_the_data_is_refused(loop, problem, config):
    config = dataclasses.replace(config, batch_size=13)
    with pytest.raises(ValueError, match="at most 12"):
        loop.train(problem, "equal", config, config.out / "large")


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": ("nothing",)},
        {"method": ()},
        {"method": ("equal", "equal")},
        {"seeds": 0},
        {"epochs": 3, "eval_every": 2},
    ],
)
def test_a_wrong_command_line_is_refused(training, wrong):
    with pytest.raises(ValueError, match="should"):
        training.Training(**wrong)


# RotatedMNIST.


def picture(path):
    with Image.open(path) as image:
        return image.size


def test_rotated_mnist_goes_on_with_more_methods(rotated, smoke, tmp_path, capsys):
    """Of what is there nothing is trained again; the rest is."""
    folder = tmp_path / "rotated_mnist-smoke"
    shutil.copytree(smoke("rotated_mnist").folder, folder)
    first = json.loads((folder / "rotated_mnist.json").read_text())["results"]
    assert [(x["rotation"], x["method"]) for x in first] == [
        (90, "single"),
        (90, "gcs"),
    ]
    kept = (folder / "90-gcs" / "metrics.jsonl").read_text()
    words = ["--smoke", "--resume", "--out", str(tmp_path), "--quiet"]
    words += ["--rotations", "0", "90", "--method", "single", "equal", "gcs"]
    rotated.main(words)
    numbers = json.loads((folder / "rotated_mnist.json").read_text())["results"]
    errors = {(x["rotation"], x["method"]): x["errors"] for x in numbers}
    assert set(errors) == {(d, m) for d in (0, 90) for m in ("single", "equal", "gcs")}
    assert all(len(x) == 2 for x in errors.values())
    assert [errors[90, x["method"]] for x in first] == [x["errors"] for x in first]
    assert (folder / "90-gcs" / "metrics.jsonl").read_text() == kept
    folders = sorted(path.name for path in folder.iterdir() if path.is_dir())
    assert folders == ["0-equal", "0-gcs", "90-equal", "90-gcs", "single"]
    text = (folder / "rotated_mnist.md").read_text("utf-8")
    assert "2.41 ± 0.22" in text  # the paper's, at 90°
    assert "8x8" in text
    assert picture(folder / "rotated_mnist.png")[0] > 800
    said = capsys.readouterr().out
    assert "Test error" in said
    assert NOTHING in said
    assert "− single-task" not in said + text


def test_the_auxiliary_images_are_the_rotated_ones(experiments):
    from rotated.problem import with_rotated

    images = auxjax.data.Images(
        np.arange(18, dtype=np.uint8).reshape(2, 3, 3, 1), np.array([0, 1], np.int32)
    )
    found = with_rotated(images, 90)
    np.testing.assert_array_equal(found["images"], images.images)
    for turned, image in zip(found["rotated"], images.images, strict=True):
        np.testing.assert_array_equal(turned[..., 0], np.rot90(image[..., 0]))


def test_rotated_mnist_has_the_papers_network(rotated):
    images = auxjax.data.Images(
        np.zeros((10, 28, 28, 1), np.uint8), np.arange(10, dtype=np.int32)
    )
    problem = rotated.prepare(rotated.Config(), images, images, 0)
    params, _ = jax.eval_shape(problem.init, jax.random.key(0))
    count = sum(x.size for x in jax.tree.leaves(params))
    trunk = 784 * 100 + 100 + 2 * (100 * 100 + 100)
    assert count == trunk + 2 * (100 * 10 + 10)


@pytest.mark.parametrize("words", [["--rotations"], ["--hidden", "0"]])
def test_rotated_mnist_refuses(rotated, words):
    with pytest.raises(SystemExit):
        rotated.main(words)


def test_mnist_that_is_not_there_is_said_plainly(rotated, tmp_path, capsys):
    words = ["--smoke", "--source", "mnist", "--data-dir", str(tmp_path)]
    with pytest.raises(SystemExit) as stop:
        rotated.main([*words, "--out", str(tmp_path), "--quiet"])
    assert "idx3-ubyte" in str(stop.value) + capsys.readouterr().err


# Pairs of classes.


def test_frechet_by_hand(experiments):
    from class_pairs.distance import distances, frechet

    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(50, 3)), 2 * rng.normal(size=(40, 3)) + 1
    import scipy.linalg

    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(first @ second).real
    gap = a.mean(0) - b.mean(0)
    expected = gap @ gap + np.trace(first + second - 2 * root)
    np.testing.assert_allclose(frechet(a, b), expected, rtol=1e-6)
    embedded = np.concatenate([a, b, a + 0.1])
    labels = np.repeat([0, 1, 2], [50, 40, 50])
    assert next(iter(distances(embedded, labels))) == (0, 2)


def test_a_pair_has_as_much_background(experiments):
    from class_pairs.data import Pair, select

    labels = np.repeat(np.arange(5), 6).astype(np.int32)
    images = auxjax.data.Images(labels[:, None, None, None].astype(np.uint8), labels)
    found = select(images, Pair(3, 1), 0, 100)
    assert np.bincount(found.kind).tolist() == [12, 6, 6]
    of = found.images[:, 0, 0, 0]
    np.testing.assert_array_equal(of[found.kind == 1], 3)
    np.testing.assert_array_equal(of[found.kind == 2], 1)
    assert not np.isin(of[found.kind == 0], [3, 1]).any()
    assert np.bincount(select(images, Pair(3, 1), 0, 4).kind).tolist() == [8, 4, 4]


def test_neither_class_is_background(pairs, experiments):
    """Images of class B change nothing of the main task, those of A nothing of B's."""
    from class_pairs.data import Task
    from class_pairs.problem import make_problem

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, size=(12, 8, 8, 1), dtype=np.uint8)
    kind = np.repeat(np.arange(3, dtype=np.int32), 4)

    both = Task(images, kind)
    problem = make_problem(pairs.Config(), both, both)
    params, state = jax.jit(problem.init)(jax.random.key(0))

    @jax.jit
    def measured(images):
        batch = Task(images, jnp.asarray(kind))
        losses, _ = problem.losses(params, state, batch, None)
        each, _ = problem.sample_losses(params, state, batch, None)
        sets = {"test": batch, "probe": batch}
        return losses, each, problem.evaluate(params, state, sets)["accuracy"]

    losses, each, right = measured(images)
    for name, other in (("main", 2), ("auxiliary", 1)):
        assert np.all(np.asarray(each[name])[kind == other] == 0)
        np.testing.assert_allclose(losses[name], np.sum(each[name]) / 8, rtol=1e-6)
        changed = np.where((kind == other)[:, None, None, None], 255 - images, images)
        moved, _, still = measured(changed)
        np.testing.assert_allclose(moved[name], losses[name], rtol=1e-6)
        if name == "main":
            assert still == right


@pytest.mark.parametrize("text", ["3", "3-3", "a-b", "1-2-3", ""])
def test_a_wrong_pair_is_refused(experiments, text):
    from class_pairs.data import Pair

    with pytest.raises(ValueError, match="a pair should"):
        Pair.parse(text)


def test_class_pairs_runs(smoke):
    """The nearest and the farthest pair, by the gated method."""
    folder = smoke("class_pairs").folder
    numbers = json.loads((folder / "class_pairs.json").read_text())["results"]
    assert [(x["kind"], x["method"]) for x in numbers] == [
        ("near", "gcs"),
        ("far", "gcs"),
    ]
    near, far = numbers
    assert near["distance"] < far["distance"]
    assert all(np.all(np.abs(x["cosines"]) <= 1) for x in numbers)
    assert picture(folder / "class_pairs.png")[0] > 900
    page = (folder / "class_pairs.md").read_text("utf-8")
    assert "**An analogue**" in page
    assert "## Its mean over the first fifth of training" in page


def test_class_pairs_reads_a_folder(pairs, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for name in range(5):
        (tmp_path / "set" / f"n{name}").mkdir(parents=True)
        for i in range(10):
            pixels = rng.integers(0, 256, size=(10, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "set" / f"n{name}" / f"{i}.png")
    words = ["--smoke", "--folder", str(tmp_path / "set"), "--size", "8"]
    words += ["--near", "4-1", "--far", "0-2", "--method", "equal"]
    monkeypatch.setattr(pairs, "SMOKE", pairs.SMOKE | {"batch_size": 8})
    pairs.main([*words, "--out", str(tmp_path), "--quiet"])
    folder = tmp_path / "class_pairs-smoke"
    text = (folder / "class_pairs.md").read_text("utf-8")
    assert "5 classes of set, 8x8: 40 training and 10 test images" in text
    assert "**An analogue**" not in text
    numbers = json.loads((folder / "class_pairs.json").read_text())["results"]
    named = [(x["kind"], x["pair"], x["method"]) for x in numbers]
    assert named == [("near", [4, 1], "equal"), ("far", [0, 2], "equal")]


def test_verdicts_on_pairs_are_by_hand(experiments):
    from class_pairs.data import Pair
    from class_pairs.report import Result, table, verdict
    from lab.curves import Curves

    def result(distance, accuracies, cosines):
        curves = Curves(
            epochs=np.array([1, 2]),
            test={"accuracy": np.array(accuracies), "cosine": np.array(cosines)},
            losses=np.zeros((2, 2, 2)),
            weights=np.zeros((2, 2, 2)),
            tasks=("main", "auxiliary"),
            seconds=1.0,
        )
        return Result(distance, curves)

    near, far = Pair(3, 8), Pair(0, 1)
    results = {
        ("near", near, "single"): result(1.0, [[80, 90], [80, 92]], [[0, 0], [0, 0]]),
        ("near", near, "equal"): result(
            1.0, [[70, 91], [70, 95]], [[0.5, 0.3], [0.1, 0.1]]
        ),
        ("far", far, "single"): result(9.0, [[80, 90], [80, 90]], [[0, 0], [0, 0]]),
        ("far", far, "equal"): result(
            9.0, [[80, 88], [80, 86]], [[0.2, 0.0], [0.2, 0.2]]
        ),
    }
    lines = verdict(results)
    assert lines[0].endswith("near above far in 1 of 2 seeds.")  # 0.4 > 0.1, 0.1 < 0.2
    assert "multi task − single-task at the end: 2.00 ± 1.41" in lines[1]
    assert "multi task − single-task at the end: -3.00 ± 1.41" in lines[2]
    first, second = table(results)
    assert (first["pair"], first["distance"]) == ("near 3-8", "1.0")
    assert first["cosine"] == "0.250 ± 0.212"
    assert second["multi task"] == "87.00 ± 1.41"
    assert table(results, early=True)[0]["multi task"] == "70.00 ± 0.00"


# Dense prediction.


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return auxjax.data.rooms(
        8, 4, size=(16, 16), cache_dir=tmp_path_factory.mktemp("rooms"), quiet=True
    )


def test_dense_variants(dense):
    from dense.variants import variants

    tasks = ("segmentation", "depth", "normal")
    config = dense.Config(method=("equal", "gcs"), architecture=("split", "mtan"))
    found = variants(config, tasks)
    assert len(found) == 3 + 2 * (2 + 3)
    shown = [(v.setting, v.architecture) for v in found if v.shown]
    assert shown == [("multi-task", "split"), ("auxiliary", "split")]
    assert len({v.folder for v in found}) == len(found)
    gated = [v for v in found if v.method == "gcs" and v.architecture == "split"]
    assert [v.tasks[0] for v in gated] == list(tasks)
    assert all(v.tasks[-1] == "noise" and v.counted == v.tasks[:1] for v in gated)
    for study, count in (("compositions", 16), ("robustness", 8), ("groupings", 8)):
        config = dense.Config(study=study)
        assert len(variants(config, tasks)) == 3 + count


def test_dense_problem(dense, experiments, scenes):
    from dense import problem as problems
    from dense.variants import Variant

    config = dense.Config(backbone="tiny", width=1.0, augment=False)
    tasks = ("depth", "segmentation", "normal", "noise")
    variant = Variant("x", "equal", "auxiliary", "split", tasks, tasks[:3])
    problem = problems.make(config, *scenes, variant)
    assert problem.primary == (0, 1, 2)
    assert problem.classification == (1,)
    params, state = problem.init(jax.random.key(0))
    assert set(params["heads"]) == set(tasks)
    batch = jax.tree.map(lambda x: x[:2], problem.train)
    losses, moved = problem.losses(params, state, batch, jax.random.key(0))
    assert tuple(losses) == tasks
    assert all(np.isfinite(x) for x in losses.values())
    assert not np.allclose(
        jax.tree.leaves(moved)[0], jax.tree.leaves(state)[0]
    )  # batch statistics
    found = problem.evaluate(params, state, problem.test)
    assert set(found) == {"depth", "segmentation", "normal"}
    assert 0 <= found["segmentation"] <= 100
    out = problem.predict(params, state, problem.test.images[0])
    truth, predicted = problem.test.depth[0], out["depth"]
    known = np.asarray(truth).sum(-1) != 0
    gap = np.abs(np.asarray(truth) - np.asarray(predicted))[..., 0][known]
    np.testing.assert_allclose(found["depth"], gap.mean(), rtol=1e-4)


def test_dense_delta_is_by_hand(experiments):
    from dense import report
    from dense.variants import Variant
    from lab.curves import Curves

    def result(method, setting, counted, **values):
        curves = Curves(
            epochs=np.array([1]),
            test={k: np.array(v)[:, None] for k, v in values.items()},
            losses=np.zeros((2, 1, 3)),
            weights=np.full((2, 1, 3), np.nan),
            tasks=counted,
            seconds=1.0,
        )
        variant = Variant(method, method, setting, "split", counted, counted)
        return variant, report.Result(curves, None)

    results = dict(
        [
            result("single", "single", ("segmentation",), segmentation=[40.0, 60.0]),
            result("single", "single", ("depth",), depth=[2.0, 2.0]),
            result(
                "equal",
                "multi-task",
                ("segmentation", "depth"),
                segmentation=[55.0, 50.0],
                depth=[1.0, 2.0],
            ),
            result("gcs", "auxiliary", ("segmentation",), segmentation=[50.0, 50.0]),
            result("gcs", "auxiliary", ("depth",), depth=[3.0, 2.0]),
        ]
    )
    found = {(x.setting, x.label): x.delta for x in report.lines(results)}
    # (10 % + 50 %) / 2 and 0; for the worse depth (0 − 50 %) / 2.
    np.testing.assert_allclose(found["multi-task", "equal"], [30.0, 0.0])
    np.testing.assert_allclose(found["auxiliary", "gcs [1 task]"], [-25.0, 0.0])


@pytest.mark.parametrize(
    "study", ["methods", pytest.param("robustness", marks=pytest.mark.slow)]
)
def test_dense_prediction_runs(dense, monkeypatch, tmp_path, study):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    words = ["--smoke", "--study", study, "--out", str(tmp_path), "--quiet"]
    dense.main(words + ["--method", "autolambda-all"] * (study == "methods"))
    folder = tmp_path / f"dense_{study}-smoke"
    stem = "dense" if study == "methods" else f"dense_{study}"
    text = (folder / f"{stem}.md").read_text()
    assert "Δ_MTL" in text
    assert "noise" in text
    assert "the noise's weight goes" not in text  # no verdict from a smoke run
    numbers = json.loads((folder / f"{stem}.json").read_text())["results"]
    label = "autolambda-all" if study == "methods" else "our setting"
    assert [x["label"] for x in numbers] == ["single", label]
    assert "an analogue of NYUv2" in text
    for end in ("", "_weights", "_predictions"):
        assert picture(folder / f"{stem}{end}.png")[0] > 500


def test_dense_prediction_needs_the_files(dense, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("AUXJAX_DATA", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        dense.main(["--data", "nyuv2", "--quiet"])
    assert "nyuv2" in str(stop.value) + capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"study": "robustness", "method": ("gcs",)}, "which has its own"),
        ({"study": "groupings", "setting": "multi"}, "which has its own"),
        ({"method": ("gcs",), "setting": "multi"}, "takes all tasks alike"),
        ({"width": 0.0}, "`width` should be above 0"),
        ({"backbone": "pixels", "architecture": ("mtan",)}, "should be split where"),
        ({"architecture": ("split", "split")}, "each once"),
    ],
)
def test_dense_prediction_refuses(dense, options, message):
    with pytest.raises(ValueError, match=message):
        dense.Config(**options)


def test_the_papers_network_is_as_wide_as_the_papers(dense, experiments):
    from dense.network import width_of

    assert width_of(dense.Config(backbone="resnet50")) == 1
    assert width_of(dense.Config(backbone="small")) == 0.5
    assert width_of(dense.Config(backbone="resnet50", width=0.5)) == 0.5


def test_no_test_scene_is_left_out(dense, experiments, scenes, monkeypatch):
    """Scenes in pieces of three, the last filled up, measure as all at once."""
    from dense import problem as problems
    from dense.variants import Variant

    tasks = ("segmentation", "depth", "normal")
    variant = Variant("x", "equal", "multi-task", "split", tasks, tasks)
    found = []
    for size in (3, 20):
        monkeypatch.setattr(problems, "TEST_BATCH", size)
        problem = problems.make(dense.Config(backbone="tiny"), *scenes, variant)
        params, state = problem.init(jax.random.key(0))
        found.append(problem.evaluate(params, state, problem.test))
    count = len(scenes[1].label)
    assert count % 3
    assert problem.test.label.shape[:2] == (1, count)
    for name, value in found[0].items():
        np.testing.assert_allclose(value, found[1][name], rtol=1e-5)
