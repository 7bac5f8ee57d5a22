"""`rl_aux.py`: its data, its networks, its runs, and what it says of them."""

import dataclasses
import json
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.metrics import precision_recall_fscore_support

from auxjax.data import Images
from auxjax.labelling import (
    Hierarchy,
    LabelData,
    LabellingConfig,
    MainTask,
    environment,
    make_method,
)
from auxjax.rl import PPOConfig
from auxjax.run import RunError
from tests._scripts import load_script

TINY = {
    "seeds": 2,
    "epochs": 2,
    "eval_every": 1,
    "train_size": 40,
    "batch_size": 10,
    "eval_size": 16,
    "channels": (2,),
    "rollout_batches": 2,
    "ppo": PPOConfig(epochs=1, minibatch_size=10, entropy_coef=0.01),
    "quiet": True,
}

NOTHING = "A smoke run: its numbers say nothing."
pytestmark = pytest.mark.usefixtures("experiments", "quick_compilation")


@pytest.fixture(scope="module")
def script(experiments):
    rl_aux = load_script("rl_aux")

    return rl_aux


@pytest.fixture(scope="module")
def data(experiments):
    from labelling import data

    return data


@pytest.fixture(scope="module")
def runs(experiments):
    from labelling import run

    return run


@pytest.fixture(scope="module")
def report(experiments):
    from labelling import report

    return report


@pytest.fixture(scope="module")
def digits(data):
    return data.read("digits", None, 3, TINY["train_size"])


@pytest.fixture
def config(script, tmp_path):
    return script.resolve(script.Config(**TINY, out=tmp_path))


def leaves(state):
    state = state._replace(key=jax.random.key_data(state.key))
    return [np.asarray(x) for x in jax.tree.leaves(state)]


# The data.


def test_digits_are_in_superclasses_that_people_could_split(data):
    problem = data.read("digits", None, 3)
    assert problem.names == ("even, small", "even, large", "odd, small", "odd, large")
    assert problem.train.images.shape == (1437, 8, 8, 1)
    np.testing.assert_array_equal(problem.train.human // 3, problem.train.labels)
    # 0 2 4 | 6 8 | 1 3 | 5 7 9: ten of the twelve labels.
    found = np.unique(problem.train.human).tolist()
    assert found == [0, 1, 2, 3, 4, 6, 7, 9, 10, 11]
    scaled = (problem.train.images / 255 - problem.mean) / problem.std
    assert abs(scaled.mean()) < 1e-3
    assert abs(scaled.std() - 1) < 1e-3
    assert not problem.augment


def test_the_groups_hold_every_class_once(data):
    for groups in data.GROUPS.values():
        members = [label for group in groups.values() for label in group]
        assert sorted(members) == list(range(10))
        assert max(map(len, groups.values())) == 3


def test_fewer_labels_than_people_named_are_refused(data):
    with pytest.raises(RunError, match="at most psi = 2 fine"):
        data.read("digits", None, 2)


def write_cifar(folder, name, coarse, rows):
    folder = folder / name
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (len(rows), 3072), np.uint8)
    batch = {"data": pixels}
    if coarse:
        batch |= {"fine_labels": rows, "coarse_labels": [i // 5 for i in rows]}
        names = ("train", "test")
    else:
        batch |= {"labels": rows}
        names = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
    for part in names:
        (folder / part).write_bytes(pickle.dumps(batch))


def test_cifar100_has_20_superclasses_and_their_classes(data, tmp_path):
    write_cifar(tmp_path, "cifar-100-python", True, list(range(100)))
    problem = data.read("cifar100", tmp_path, 5)
    assert problem.hierarchy == Hierarchy(20, 5)
    np.testing.assert_array_equal(problem.train.labels, np.arange(100) // 5)
    np.testing.assert_array_equal(problem.train.human, np.arange(100))
    assert problem.names[0] == "aquatic_mammals"
    assert (problem.augment, problem.flip) == (True, True)


def test_where_nobody_named_finer_classes_human_is_left_out(
    script, data, tmp_path, capsys
):
    write_cifar(tmp_path, "cifar-10-batches-py", False, [*range(10)] * 2)
    problem = data.read("cifar10", tmp_path, 5)
    assert problem.train.human is None
    config = script.resolve(script.Config(source="cifar10", batch_size=5, eval_size=5))
    assert "human" not in script.fitting(config, problem).method
    assert "left out" in capsys.readouterr().err
    with pytest.raises(RunError, match="should not name human"):
        script.fitting(dataclasses.replace(config, method=("human",)), problem)


def test_missing_files_end_the_program_plainly(script, tmp_path, capsys):
    words = ["--source", "svhn", "--data-dir", str(tmp_path / "nowhere")]
    with pytest.raises(SystemExit) as error:
        script.main(words)
    assert error.value.code == 2
    assert "train_32x32.mat" in capsys.readouterr().err


# The command line.


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--method", "nobody"], "one of single"),
        (["--method", "rl", "rl"], "each once"),
        (["--aux-weight", "-1"], "at least 0"),
        (["--epochs", "3"], "multiple"),
        (["--psi", "0"], "at least 1"),
        (["--channels", "0"], "above 0"),
        (["--ppo.epochs", "0", "--method", "rl"], "at least 1"),
        (["--ppo-epochs", "0", "--method", "rl"], "at least 1"),
        (["--ppo.rollout-length", "8"], "Unrecognized options"),
        (["--batch-size", "0"], "at least 1"),
        (["--weight-formula", "mine"], '`formula` should be "paper" or "code"'),
    ],
)
def test_a_wrong_word_is_named(script, capsys, words, said):
    with pytest.raises(SystemExit) as error:
        script.main(words)
    assert error.value.code == 2
    # tyro breaks lines inside its box.
    assert said in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_what_the_library_has_stands_there_alone(script):
    """Each of its fields is an option, declared and checked where it is used."""
    own = set(script.Config.__annotations__)
    inherited = {field.name for field in dataclasses.fields(LabellingConfig)}
    several = {"method", "aux_weight", "restore"}
    by_source = {"learning_rate", "label_learning_rate", "halve_every"}
    said_otherwise = {"label_weight_decay", "ppo"}  # with the library's values
    assert own & inherited == several | by_source | said_otherwise
    library, config = LabellingConfig(), script.Config()
    assert config.label_weight_decay == library.label_weight_decay
    assert dataclasses.asdict(config.ppo) == dataclasses.asdict(library.ppo)
    assert inherited < {field.name for field in dataclasses.fields(script.Config)}


def test_every_option_reaches_the_environment(script, runs, digits, monkeypatch):
    from labelling.networks import make_networks

    read = []
    monkeypatch.setattr(script, "run", read.append)
    script.main(
        [
            *("--method", "wa-rl", "--eval-size", "32", "--weight-formula", "code"),
            *("--ppo.clip", "0.1", "--ppo-minibatch", "32", "--restore", "batch"),
        ]
    )
    config = script.resolve(read[0])
    told = runs.setting(config, runs.Variant("wa-rl", 1.0, "batch"))
    task = MainTask(make_networks(config, digits, told)[0], optax.sgd(0.1))
    env = environment(told, digits.hierarchy, task)
    assert (env.eval_size, env.weight_formula, env.restore) == (32, "code", "batch")
    assert (told.ppo.clip, told.ppo.minibatch_size) == (0.1, 32)
    assert (told.ppo.entropy_coef, env.weighted, env.entropy_weight) == (0.01, True, 1)


def test_what_is_not_said_depends_on_the_source(script):
    small = script.resolve(script.Config())
    assert (small.psi, small.epochs, small.network) == (3, 150, "cnn")
    large = script.resolve(script.Config(source="cifar100", epochs=10))
    assert (large.psi, large.epochs, large.network) == (5, 10, "vgg16")
    assert (large.learning_rate, large.halve_every) == (0.01, 50)


@pytest.mark.parametrize("field", ["batch_size", "eval_size"])
def test_more_than_the_data_is_refused(script, config, digits, field):
    config = dataclasses.replace(config, **{field: 41})
    with pytest.raises(RunError, match=f"`{field}` should be at most 40"):
        script.fitting(config, digits)


def test_ablations_are_trainings_of_their_own_and_none_is_made_twice(script, runs):
    config = script.Config(
        method=("single", "maxl", "rl"),
        aux_weight=(0.5, 1.0),
        restore=("epoch", "never"),
    )
    from labelling.variants import variants

    found = {v.folder: v.label for v in variants(config)}
    assert found == {
        "single": "single",
        "maxl-weight-0.5": "maxl, λ 0.5",
        "maxl": "maxl",
        "rl-weight-0.5": "rl, λ 0.5",
        "rl-weight-0.5-restore-never": "rl, λ 0.5, restore never",
        "rl": "rl",
        "rl-restore-never": "rl, restore never",
    }
    told = runs.setting(script.resolve(config), runs.Variant("rl", 0.5, "never"))
    assert (told.aux_weight, told.restore, told.ppo.entropy_coef) == (
        *(0.5, "never"),
        0.01,
    )


# The runs.


def test_scores_are_scikit_learns(runs):
    random = np.random.default_rng(0)
    logits = random.normal(size=(50, 4)).astype(np.float32)
    logits[:, 3] = -9  # a class that is never predicted
    labels = random.integers(0, 4, 50).astype(np.int32)
    found = runs.scores(jnp.asarray(logits), jnp.asarray(labels))
    predicted = logits.argmax(axis=1)
    expected = precision_recall_fscore_support(
        labels, predicted, average="macro", zero_division=0
    )
    names = ("precision", "recall", "f1")
    for name, value in zip(names, expected[:3], strict=True):
        np.testing.assert_allclose(found[name], 100 * value, rtol=1e-5)
    np.testing.assert_allclose(
        found["accuracy"], 100 * np.mean(predicted == labels), rtol=1e-6
    )


@pytest.mark.parametrize("method", ["wa-maxl", "rl"])
def test_a_stopped_run_goes_on_with_the_same_bits(runs, digits, config, method):
    variant = runs.Variant(method)
    whole = runs.train(config, digits, variant, config.out / "whole")

    class Stop(Exception):
        pass

    advance = runs.Advance.__call__

    def once(self, state):
        if int(np.max(state.epoch)) > 0:
            raise Stop
        return advance(self, state)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs.Advance, "__call__", once)
        with pytest.raises(Stop):
            runs.train(config, digits, variant, config.out / "parts")
    going_on = dataclasses.replace(config, resume=True)
    parts = runs.train(going_on, digits, variant, config.out / "parts")
    for a, b in zip(leaves(parts.state), leaves(whole.state), strict=True):
        np.testing.assert_array_equal(a, b)
    for part in ("train", "test"):
        own, expected = getattr(parts.curves, part), getattr(whole.curves, part)
        assert own.keys() == expected.keys()
        for name, values in expected.items():
            np.testing.assert_array_equal(own[name], values)
    text = [config.out / x / "metrics.jsonl" for x in ("whole", "parts")]
    assert text[0].read_bytes() == text[1].read_bytes()


def test_seeds_are_those_that_train_alone(runs, digits, config):
    both = runs.train(config, digits, runs.Variant("kmeans"), config.out / "both")
    second = dataclasses.replace(config, seeds=1, first_seed=1)
    alone = runs.train(second, digits, runs.Variant("kmeans"), config.out / "alone")
    losses = [x.curves.train["primary"] for x in (both, alone)]
    np.testing.assert_allclose(losses[0][1], losses[1][0], rtol=1e-5)
    assert not np.allclose(losses[0][0], losses[0][1])
    use = both.curves.test["label_use"]
    assert np.all((use > 0) & (use <= 1))


def test_seeds_run_together_on_an_accelerator_and_one_by_one_on_a_cpu(
    runs, monkeypatch
):
    states, shared = jnp.arange(3.0), jnp.ones(2)
    expected = np.arange(3.0)[:, None] * np.ones(2)
    for backend, primitive in (("cpu", "scan"), ("gpu", "mul")):
        monkeypatch.setattr(jax, "default_backend", lambda name=backend: name)
        function = runs.over_seeds(lambda state, x: state * x)
        np.testing.assert_array_equal(function(states, shared), expected)
        jaxpr = jax.make_jaxpr(function)(states, shared)
        found = [equation.primitive.name for equation in jaxpr.eqns]
        assert primitive in found


def test_a_loss_that_is_not_finite_is_named(runs):
    found = {
        "epoch": np.array([4, 4]),
        "train": {
            "primary": np.array([0.1, 0.2]),
            "auxiliary": np.array([0.1, np.inf]),
        },
    }
    assert runs._check(found) == (4, "auxiliary", np.inf)
    found["train"]["auxiliary"] = np.array([0.1, 0.1])
    assert runs._check(found) is None


def test_shifted_images_keep_the_labels_that_nobody_learns(runs, digits, config):
    from labelling.networks import make_networks

    told = runs.setting(config, runs.Variant("random"))
    networks = make_networks(config, digits, told)
    method = make_method(told, digits.hierarchy, *networks)
    state = method.init(jax.random.key(0), digits.train)
    epoch = runs.augmented(digits, told, method, networks[0])
    shifted, metrics = jax.jit(epoch)(state, digits.train)
    plain, expected = jax.jit(method.epoch)(state, digits.train)
    np.testing.assert_allclose(metrics.label_use, expected.label_use, rtol=1e-6)
    assert not np.allclose(metrics.primary, expected.primary)
    np.testing.assert_array_equal(shifted.label_state, state.label_state)
    # Only the images differ: on images that are all black a shift does nothing.
    black = LabelData(np.zeros_like(digits.train.images), *digits.train[1:])
    shifted, _ = jax.jit(epoch)(state, black)
    plain, _ = jax.jit(method.epoch)(state, black)
    for a, b in zip(leaves(shifted), leaves(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.parametrize(
    ("method", "main", "labeller"),
    [
        ("single", [4, 12], None),
        ("wa-maxl", [4, 12], [12, 1]),
        ("wa-rl", [4, 12], [12, 21, 1]),
    ],
)
def test_vgg16_has_the_heads_that_the_method_needs(
    runs, digits, config, method, main, labeller
):
    from labelling.networks import make_networks

    config = dataclasses.replace(config, network="vgg16", width=1 / 64)
    told = runs.setting(config, runs.Variant(method))
    made = make_networks(config, digits, told)
    images = digits.train.images[:3]
    for network, sizes in zip(made, (main, labeller), strict=True):
        if network is None:
            assert sizes is None
            continue

        def outputs(network=network):
            params, state = network.init(jax.random.key(0), images)
            return network.apply(params, state, images, train=True)[0]

        found = jax.eval_shape(outputs)
        assert [x.shape for x in found] == [(3, n) for n in sizes]


# What is said of them.


def trained(runs, accuracies, use, seconds=2.0):
    """Two epochs of two seeds."""
    test = {"accuracy": np.array(accuracies, float)}
    test |= dict.fromkeys(("precision", "recall", "f1"), test["accuracy"] / 2)
    test["label_use"] = np.array(use, float) / 2
    train = {"label_use": np.array(use, float)}
    train["lowest_label_use"] = train["label_use"] - 0.25
    train["drawn_label_use"] = train["label_use"] * 0.75
    train["lowest_drawn_label_use"] = train["label_use"] * 0.5
    curves = runs.Curves(np.array([1, 2]), train, test, seconds)
    return runs.Trained(curves, None, None)


@pytest.fixture
def results(runs):
    nothing = [[0, 0], [0, 0]]
    return {
        runs.Variant("single"): trained(runs, [[50, 60], [50, 62]], nothing),
        runs.Variant("rl"): trained(runs, [[70, 64], [50, 64]], [[0.5, 1], [1, 1]]),
        runs.Variant("rl", 2.0): trained(
            runs, [[50, 61], [50, 61]], [[1, 1], [1, 1]], seconds=float("nan")
        ),
    }


def test_the_table_stands_beside_the_papers_on_its_data_only(script, report, results):
    rows = report.table(script.Config(source="cifar100"), results)
    assert [row["the paper"] for row in rows] == ["71.9", "76.2", ""]
    assert rows[0]["accuracy"] == "61.0 ± 1.4"
    assert rows[0]["label use"] == "-"
    assert rows[1]["f1"] == "32.0 ± 0.0"
    assert rows[1]["best accuracy"] == "67.0 ± 4.2"
    assert rows[1]["label use"] == "1.000 ± 0.000"
    assert rows[1]["on test"] == "0.500 ± 0.000"
    assert rows[1]["s per epoch"] == "2.00"
    assert rows[2]["method"] == "rl, λ 2"
    assert rows[2]["s per epoch"] == "-"
    assert "the paper" not in report.table(script.Config(), results)[0]


def test_the_verdict_compares_seed_by_seed(report, results):
    # rl − single: +4 and +2, so 3 ± √2/√2.
    lines = report.verdict(results)
    assert (
        lines[0] == "rl − single: +3.00 ± 1.00 (its standard error) points of accuracy."
    )
    assert lines[1].startswith("rl, λ 2 − single: +0.00 ± 1.00")
    assert "at its lowest 0.250" in lines[2]
    assert "of test images 0.250 at its lowest" in lines[2]
    assert "its agent draws by 0.750 ± 0.000 at the end, 0.250 at its" in lines[3]
    assert len(lines) == 6


def test_the_mosaic_has_a_row_a_label(experiments, digits):
    from labelling.figures import COLUMNS, GAP, mosaic

    images = np.arange(1, 4, dtype=np.uint8).reshape(3, 1, 1, 1)
    problem = digits._replace(
        test=Images(images, np.array([0, 1, 0])), hierarchy=Hierarchy(2, 2)
    )
    found = mosaic(problem, np.array([1, 2, 1]), 2)
    step = 1 + GAP
    assert found.shape == (4 * step, COLUMNS * step)
    assert found[::step, ::step][:, :3].tolist() == [
        [0, 0, 0],
        [1, 3, 0],
        [2, 0, 0],
        [0, 0, 0],
    ]
    assert found.sum() == 6


def test_the_ablation_is_drawn_against_lambda(experiments, results, tmp_path):
    from labelling.figures import draw_ablation

    draw_ablation(results, tmp_path / "weights.png")
    assert (tmp_path / "weights.png").stat().st_size > 5_000


def test_a_smoke_run_leaves_everything_behind(script, tmp_path, capsys):
    words = ["--smoke", "--quiet", "--method", "single", "rl"]
    script.main([*words, "--out", str(tmp_path)])
    folder = tmp_path / "rl_aux-smoke"
    text = (folder / "rl_aux.md").read_text()
    assert "**An analogue** of the paper's CIFAR-100" in text
    assert "the paper |" not in text
    found = json.loads((folder / "rl_aux.json").read_text())
    assert [row["method"] for row in found["results"]] == ["single", "rl"]
    for row in found["results"]:
        assert np.shape(row["accuracies"]) == (2, 2)
        assert 0 <= min(row["test"]["f1"]) <= max(row["test"]["f1"]) <= 100
        assert row["seconds_an_epoch"] > 0
    for name in ("rl_aux.png", "rl_aux_labels.png"):
        assert (folder / name).stat().st_size > 5_000
    said = capsys.readouterr().out
    assert "label use" in text
    assert NOTHING in said
    assert "− single" not in said + text
    # Nothing is left to train: the same table again, with the time that it took.
    script.main([*words, "--resume", "--out", str(tmp_path)])
    again = json.loads((folder / "rl_aux.json").read_text())
    assert again["results"] == found["results"]
