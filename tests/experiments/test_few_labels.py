"""Few labels, many helpers: the samples, the tuning, what the report says."""

import dataclasses

import jax
import numpy as np
import pytest

from tests._scripts import load_script

pytestmark = pytest.mark.usefixtures("experiments", "quick_compilation")


@pytest.fixture(scope="module")
def script(experiments):
    return load_script("few_labels")


@pytest.fixture(scope="module")
def config(script):
    return script.Config(labels=(5,), seeds=2, train_size=40, epochs=2, eval_every=1,
                         hidden=8, batch_size=20, quiet=True)  # fmt: skip


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    classes = np.arange(120, dtype=np.int32) % 10
    return rng.integers(0, 256, (120, 8, 8, 1), np.uint8), classes


@pytest.fixture(scope="module")
def drawn(config, images, experiments):
    from few_labels.data import draw_seed

    return jax.jit(draw_seed(*map(jax.numpy.asarray, images), config))(3)


def test_few_images_have_a_label_and_come_again_and_again(drawn):
    train, _ = drawn
    assert train.images.shape == train.labelled.shape == (40, 8, 16, 1)
    for i in range(40):  # image i % 5 and its class
        np.testing.assert_array_equal(train.labelled[i], train.images[i % 5])
        assert int(train.labels[i]) == int(train.labels[i % 5])
    assert len({x.tobytes() for x in np.asarray(train.labelled)}) == 5


def test_good_helpers_are_functions_of_the_class(drawn):
    train, _ = drawn
    labels = np.asarray(train.labels[:5])
    np.testing.assert_array_equal(train.targets["parity"][:5], labels % 2)
    np.testing.assert_array_equal(train.targets["size"][:5], labels >= 5)
    loops = np.array([1, 0, 0, 0, 1, 0, 1, 0, 2, 1])
    np.testing.assert_array_equal(train.targets["loops"][:5], loops[labels])


def test_training_and_test_images_are_apart_and_as_they_were(drawn, images):
    train, test = drawn
    given = {image.tobytes(): i for i, image in enumerate(images[0])}
    found = [
        [given[np.round(255 * x[:, :8]).astype(np.uint8).tobytes()] for x in part]
        for part in map(np.asarray, (train.images, test["images"]))
    ]
    assert sorted(found[0] + found[1]) == list(range(120))
    np.testing.assert_array_equal(test["labels"], images[1][found[1]])


def test_the_bar_stands_beside_every_colour(experiments):
    from few_labels.data import with_patches

    photographs = np.full((2, 32, 32, 3), 255, np.uint8)
    patches = np.arange(128, dtype=np.float32).reshape(2, 64) / 128
    seen = np.asarray(with_patches(photographs, np.array([1]), patches[1:]))
    assert seen.shape == (1, 32, 40, 3)
    for colour in range(3):
        bar = seen[0, 12:20, 32:, colour]
        np.testing.assert_array_equal(bar.reshape(-1), patches[1])
    assert seen[0, :12, 32:].max() == 0
    assert seen[0, :, :32].min() == 1


def test_seeds_draw_their_own(config, images, experiments):
    from few_labels.problem import prepare

    problem = prepare(config, *images)
    first, second = (np.asarray(problem.train.targets["random 1"][i]) for i in (0, 1))
    assert np.mean(first == second) < 0.5
    assert problem.tasks[:4] == ("digit", "parity", "size", "loops")
    assert len(problem.tasks) == len(problem.first_losses) == 8


def test_a_convolutional_network_takes_the_same(config, images, experiments):
    from few_labels.problem import prepare

    own = dataclasses.replace(config, network="cnn")
    problem = prepare(own, *images)
    params, state = problem.init(jax.random.key(0))
    batch = jax.tree.map(lambda x: x[0, :4], problem.train)
    losses, _ = problem.losses(params, state, batch, jax.random.key(1))
    assert {name: loss.shape for name, loss in losses.items()} == dict.fromkeys(
        problem.tasks, ()
    )


def test_tuning_takes_the_best_rate_and_stop_of_other_seeds(
    config, images, tmp_path, monkeypatch, experiments
):
    from few_labels import run
    from lab.curves import Curves

    asked = []

    def learn(config, problem, method, folder):
        rate, decay = config.learning_rate, config.weight_decay
        asked.append((config.first_seed, config.seeds, rate, decay, folder.name))
        tops = {0.1: [10.0, np.nan], 0.3: [90.0, 40.0]}
        found = {"accuracy": np.array([tops[rate]] * config.seeds) - 9 * (decay == 0)}
        empty = np.zeros((config.seeds, 2, 8))
        return Curves(np.array([1, 2]), found, empty, empty, ("digit",) * 8, 0.0)

    monkeypatch.setattr(run, "learn", learn)
    own = dataclasses.replace(
        config,
        method=("equal",),
        tune=(0.1, 0.3),
        tune_decay=(0.0, 0.5),
        tuning_seeds=3,
    )
    found = run.run_all(own, *images, tmp_path)[5, "equal"]
    assert (found.rate, found.decay, found.stop) == (0.3, 0.5, 0)
    np.testing.assert_array_equal(found.accuracy, [90.0, 90.0])
    assert asked == [
        (1000, 3, 0.1, 0.0, "5-equal-tuning-0.1-0"),
        (1000, 3, 0.1, 0.5, "5-equal-tuning-0.1-0.5"),
        (1000, 3, 0.3, 0.0, "5-equal-tuning-0.3-0"),
        (1000, 3, 0.3, 0.5, "5-equal-tuning-0.3-0.5"),
        (0, 2, 0.3, 0.5, "5-equal"),
    ]


def test_what_is_said_of_a_rule_is_paired_by_seed(script, config, experiments):
    from few_labels.report import verdicts
    from few_labels.run import Trained
    from lab.curves import Curves

    def trained(*accuracies):
        found = {"accuracy": np.array(accuracies)[:, None]}
        return Trained(Curves(np.ones(1), found, None, None, (), 0.0), 0.1, 0.0, 0)

    own = dataclasses.replace(config, method=("equal", "olaux-log", "hand-1"))
    results = {
        (5, "equal"): trained(10.0, 30.0),
        (5, "olaux-log"): trained(20.0, 25.0),
        (5, "hand-1"): trained(21.0, 26.0),
    }
    (line,) = verdicts(own, results)
    assert "+2.5 to equal weights (in 1 of 2 seeds)" in line
    assert "-1.0 to the best by hand (hand-1)" in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": (0,)}, "`labels` should be from 1 to `train_size`, 900"),
        ({"labels": (901,)}, "Found 901"),
        ({"random_helpers": -1}, "should be at least 0"),
        ({"weight_decay": float("nan")}, "Found 2 and nan"),
        ({"tune": (0.1, 0.1)}, "`tune` should name each once"),
        ({"method": ("hand-2",)}, "`method` should be among"),
    ],
)
def test_what_cannot_be_is_refused(script, options, message):
    with pytest.raises(ValueError, match=message):
        script.Config(**options)
