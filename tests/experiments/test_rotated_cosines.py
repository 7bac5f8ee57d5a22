"""The cosines of `rotated_mnist.py`: what is measured, and a small run."""

import json
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from PIL import Image

import auxjax
from tests._scripts import load_script

pytestmark = pytest.mark.usefixtures("experiments", "quick_compilation")

OPTIONS = {"hidden": 4, "learning_rate": 1e-3, "weight_travel": 1.0}
CONFIG = SimpleNamespace(**OPTIONS, batch_size=5, epochs=3, seeds=2, first_seed=1)


@pytest.fixture(scope="module")
def problem(experiments):
    from rotated.problem import prepare

    draw = np.random.default_rng(0)
    images = auxjax.data.Images(
        draw.integers(0, 256, (12, 6, 6, 1)).astype(np.uint8),
        (np.arange(12) % 3).astype(np.int32),
    )
    return prepare(CONFIG, images, images, 90)


def in_numpy(problem, params):
    """On all images, from two gradients of the trunk alone."""

    def gradient(name):
        def loss(trunk):
            given = {**params, "trunk": trunk}
            return problem.losses(given, None, problem.train, None)[0][name]

        leaves = jax.tree.leaves(jax.grad(loss)(params["trunk"]))
        return np.concatenate([np.ravel(x).astype(np.float64) for x in leaves])

    one, other = gradient("main"), gradient("rotated")
    return one @ other / np.linalg.norm(one) / np.linalg.norm(other)


def test_the_cosine_of_all_images(problem):
    """Where a training begins; and those of batches lie around it."""
    from rotated import cosines

    found = cosines.measure(problem, CONFIG)
    assert found.steps.tolist() == [*range(6)]  # two batches of 5 of the 12, 3 epochs
    assert found.full.shape == (2, 6)
    assert found.drawn.shape == (2, 6, cosines.DRAWN)
    assert found.batch.shape == (2, 6)
    for seed, first in enumerate(found.full[:, 0]):
        start = jax.random.split(jax.random.key(seed + 1), 3)[0]
        params, _ = problem.init(start)
        np.testing.assert_allclose(first, in_numpy(problem, params), atol=1e-5)
    assert found.drawn.std(axis=2).min() > 0.01
    assert np.abs(found.full[:, 1:] - found.full[:, :-1]).min() > 0  # it trains


def test_a_batch_of_all_images_has_their_cosine(problem):
    from rotated import cosines

    whole = SimpleNamespace(**{**vars(CONFIG), "batch_size": 12})
    found = cosines.measure(problem, whole)
    np.testing.assert_allclose(
        found.drawn,
        np.broadcast_to(found.full[..., None], found.drawn.shape),
        atol=1e-5,
    )
    np.testing.assert_allclose(found.batch, found.full, atol=1e-5)
    assert cosines.agreement(found).tolist() == [100, 100]


def test_every_epoch_sees_every_sample_once(experiments):
    from rotated.cosines import shuffled

    rows = np.asarray(shuffled(jax.random.key(0), 12, 4, 2))
    assert rows.shape == (6, 4)
    for epoch in (rows[:3], rows[3:]):
        assert sorted(epoch.ravel().tolist()) == [*range(12)]
    assert (rows[:3] != rows[3:]).any()


def test_signs_are_counted(experiments):
    from rotated.cosines import Cosines, agreement, negative
    from rotated.signs import by_chance

    full = np.array([[0.1, -0.2]])
    drawn = np.array([[[0.3, 0.1, -0.1, 0.2], [-0.1, 0.1, 0.1, 0.1]]])
    found = Cosines(np.array([0, 1]), full, drawn, full)
    assert agreement(found).tolist() == [50]  # three of the first four, one of the last
    assert negative(drawn).tolist() == [25]
    assert by_chance(found).tolist() == [50]


def test_a_small_run_of_the_cosines(tmp_path, capsys):
    words = ["--smoke", "--study", "cosines", "--out", str(tmp_path), "--quiet"]
    load_script("rotated_mnist").main([*words, "--name", "mine"])
    folder = tmp_path / "mine-smoke"
    numbers = json.loads((folder / "rotated_cosines.json").read_text("utf-8"))
    assert [x["rotation"] for x in numbers["results"]] == [90]
    assert "same sign, %" in numbers["results"][0]
    assert "--study cosines" in numbers["command"]
    assert "by chance" in (folder / "rotated_cosines.md").read_text("utf-8")
    assert "Cosines" in capsys.readouterr().out
    with Image.open(folder / "rotated_cosines.png") as image:
        assert image.format == "PNG"
