"""40 attributes: what they say, the network, the host's loader, the tables, a run."""

import dataclasses
import json
from importlib import import_module

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from auxjax.data import Attributes, Images
from tests._scripts import load_script

PARTS = ("data", "host", "learn", "problem", "report")

pytestmark = pytest.mark.usefixtures("experiments", "quick_compilation")


@pytest.fixture(scope="module")
def module(experiments):
    parts = {f"celeba_{x}": import_module(f"attributes.{x}") for x in PARTS}
    return {"celeba": load_script("celeba"), **parts}


@pytest.fixture(scope="module")
def script(module):
    return module["celeba"]


@pytest.fixture(scope="module")
def facts(module):
    return module["celeba_data"].facts


def drawn(*rows):
    """An image of `#`, repeated to be twice as large."""
    image = np.array([[255 * (x == "#") for x in row] for row in rows], np.uint8)
    return image.repeat(2, axis=0).repeat(2, axis=1)


ZERO = drawn("........", "..####..", "..#..#..", "..#..#..") + 0
ZERO = np.concatenate([ZERO, ZERO[::-1]])  # 16 rows: a ring, 12 high and 8 wide
ONE = np.zeros((16, 16), np.uint8)
for row in range(2, 14):
    ONE[row, 13 - row : 15 - row] = 255  # two pixels wide; to the left a row down
IMAGES = np.stack([ZERO, ONE, np.zeros((16, 16), np.uint8)])
DIGITS = np.array([0, 1, 6])


# The attributes.


def test_there_are_40(facts):
    found = facts(IMAGES, DIGITS)
    assert len(found) == 40
    assert all(x.shape == (3,) for x in found.values())
    assert all(np.isfinite(x).all() for x in found.values())  # of an empty image too


def test_what_the_digit_decides(facts):
    found = facts(np.zeros((10, 16, 16), np.uint8), np.arange(10))

    def where(name):
        return np.flatnonzero(found[name]).tolist()

    assert [where(f"is {k}") for k in range(10)] == [[k] for k in range(10)]
    assert where("even") == [0, 2, 4, 6, 8]
    assert where("prime") == [2, 3, 5, 7]
    assert where("below 5") == [0, 1, 2, 3, 4]
    assert where("multiple of 3") == [0, 3, 6, 9]
    assert where("straight (1, 4, 7)") == [1, 4, 7]


def test_what_the_strokes_decide(facts):
    """A ring, a slanted stroke and an empty image."""
    found = facts(IMAGES, DIGITS)
    assert found["has a hole"].tolist() == [True, False, False]
    assert not found["has two holes"].any()
    assert found["in one piece"].tolist() == [True, True, False]
    np.testing.assert_allclose(found["high"], [12, 12, 0])
    np.testing.assert_allclose(found["wide"], [8, 13, 0])
    np.testing.assert_allclose(found["wide for its height"][:2], [8 / 12, 13 / 12])
    # 12 · 8 without the 8 · 4 inside; 12 rows of 2.
    np.testing.assert_allclose(found["much ink"], [64, 24, 0])
    np.testing.assert_allclose(found["soft edges"], 0)
    assert found["leans right"].tolist() == [False, True, False]
    np.testing.assert_allclose(found["slanted"], [0, 1, 0], atol=1e-9)
    # All of the stroke is outline, all of the ring but a pixel in each corner.
    np.testing.assert_allclose(found["long outline"], [60, 24, 0])
    np.testing.assert_allclose(found["thick"], [64 / 60, 1, 0])


def test_two_holes_and_two_pieces(facts):
    pieces = drawn("###..###", "#.#..#.#", "###..###", *["........"] * 5)
    joined = drawn("########", "#.#..#.#", "###..###", *["........"] * 5)
    found = facts(np.stack([pieces, joined]), np.array([8, 8]))
    assert found["has two holes"].tolist() == [True, True]
    assert found["in one piece"].tolist() == [False, True]


def test_where_the_ink_is(facts):
    found = facts(IMAGES, DIGITS)
    np.testing.assert_allclose(found["same mirrored"][0], 1)
    np.testing.assert_allclose(found["same upside down"][0], 1)
    # Turned by 180°, the stroke lies three columns further to the right.
    np.testing.assert_allclose(found["same turned by 180"][:2], [1, 0])
    corners = [f"much ink {x}" for x in ("upper left", "upper right", "lower left")]
    np.testing.assert_allclose([found[x][0] for x in corners], 0.25)
    # Columns 6 and 7 of row 7 are above on the left, of row 6 only 7: 3 of 24 pixels.
    np.testing.assert_allclose(found["much ink upper left"][1], 3 / 24)
    assert found["more ink on the left"][1]
    assert found["middle row crossed twice"].tolist() == [True, False, False]
    assert not found["middle column crossed thrice"].any()
    assert not found["more ink along the diagonal"][1]


def test_numbers_are_held_against_the_training_median(module):
    """Eight training images with 1, 2, … 10 bright pixels, two of them put apart."""
    images = np.zeros((10, 16, 16, 1), np.uint8)
    for i in range(10):
        images[i, 0, : i + 1] = 255
    train = Images(images, np.arange(10, dtype=np.int32))
    split = module["celeba_data"].digits40(train, train)
    assert [len(part.attributes) for part in split] == [8, 2, 10]
    at = split.train.names.index("much ink")
    assert split.train.attributes[:, at].sum() == 4
    ink = split.train.images.sum(axis=(1, 2, 3)) // 255
    expected = np.arange(1, 11) > np.median(ink)
    np.testing.assert_array_equal(split.test.attributes[:, at], expected)
    labels = {tuple(x) for x in split.train.images.reshape(8, -1)}
    assert not labels & {tuple(x) for x in split.validation.images.reshape(2, -1)}


# The problem.


@pytest.fixture(scope="module")
def split(module):
    """Three attributes of small images."""
    random = np.random.default_rng(0)
    counts = {"train": 20, "validation": 7, "test": 9}
    return module["celeba_data"].Split(
        *(
            Attributes(
                random.integers(0, 255, (n, 8, 8, 1)).astype(np.uint8),
                random.integers(0, 2, (n, 3)).astype(np.int32),
                ("a", "b", "c"),
            )
            for n in counts.values()
        )
    )


@pytest.fixture(scope="module")
def small(script):
    return script.Config(
        method=("equal",), aux=("autolambda-main",), seeds=2, epochs=2,
        batch_size=4, width=1 / 16, quiet=True,
    )  # fmt: skip


def losses_of(problem, params, state, key=0):
    """Of the training images, in the tasks' order, which a jitted dict loses."""
    names = []

    def listed(params):
        found, _ = problem.losses(params, state, problem.train, jax.random.key(key))
        names[:] = found
        return [*found.values()]

    values = jax.jit(listed)(params)
    return dict(zip(names, values, strict=True))


def test_a_network_that_says_nothing(module, small, split):
    """Its losses are log 2, and it always answers no."""
    problem = module["celeba_problem"].make_problem(small, split)
    params, state = jax.jit(problem.init)(jax.random.key(0))
    zero = jax.tree.map(jnp.zeros_like, params)
    losses = losses_of(problem, zero, state)
    assert tuple(losses) == problem.tasks == ("a", "b", "c")
    np.testing.assert_allclose([*losses.values()], problem.first_losses, rtol=1e-6)
    found = jax.jit(problem.evaluate)(zero, state, problem.test)
    no = 100 * np.mean(split.test.attributes == 0, axis=0)
    np.testing.assert_allclose([found[f"test {x}"] for x in "abc"], no, rtol=1e-5)
    np.testing.assert_allclose(found["accuracy"], no.mean(), rtol=1e-5)
    expected = 100 * np.mean(split.validation.attributes == 0)
    np.testing.assert_allclose(found["validation"], expected, rtol=1e-5)


def test_the_primary_is_first_and_alone_evaluated(module, small, split):
    problem = module["celeba_problem"].make_problem(small, split, 1)
    assert problem.tasks == ("b", "a", "c")
    params, state = jax.jit(problem.init)(jax.random.key(0))
    found = jax.jit(problem.evaluate)(params, state, problem.test)
    assert set(found) == {"accuracy", "validation", "test b"}
    # A head that says yes: its loss is log(1 + e^-9) a yes, 9 more a no.
    zero = jax.tree.map(jnp.zeros_like, params)
    bias = zero["heads"]["b"]["Dense_0"]
    zero["heads"]["b"]["Dense_0"] = bias | {"bias": bias["bias"] + 9}
    losses = losses_of(problem, zero, state)
    share = np.mean(split.train.attributes[:, 1] == 0)
    np.testing.assert_allclose(losses["b"], np.log1p(np.exp(-9)) + 9 * share, rtol=1e-5)
    np.testing.assert_allclose(losses["a"], np.log(2), rtol=1e-6)


def test_dropout_is_for_training(module, small, split):
    """Half of the features go, the others are twice as large; on average the same."""
    problem = module["celeba_problem"].make_problem(small, split)
    params, state = jax.jit(problem.init)(jax.random.key(0))
    one, two = (losses_of(problem, params, state, key)["a"] for key in (1, 2))
    assert float(one) != float(two)
    calm = dataclasses.replace(small, dropout=0.0)
    problem = module["celeba_problem"].make_problem(calm, split)
    one, two = (losses_of(problem, params, state, key)["a"] for key in (1, 2))
    assert float(one) == float(two)


def test_resnet_hands_on_four_quarters(module, small, split):
    config = dataclasses.replace(small, network="resnet18", width=1 / 64)
    trunk, features = module["celeba_problem"].make_trunk(config, (16, 16, 3))
    assert features == 4 * 8  # 2 x 2 places of 512 / 64 channels
    params, state = jax.jit(trunk.init)(jax.random.key(0))
    images = jnp.ones((2, 16, 16, 3))
    found, moved = jax.jit(trunk.apply, static_argnums=3)(params, state, images, True)
    assert found.shape == (2, 32)
    gaps = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), state, moved)
    assert max(jax.tree.leaves(gaps)) > 0


def test_the_rate_falls_by_five_percent_an_epoch(module, small):
    """Adam's first steps are as long as its rate."""
    config = dataclasses.replace(small, weight_decay=0.0)
    tx = module["celeba_problem"].optimizer(config, 4)  # 2 epochs of 2 steps
    params = jnp.array(0.0)
    state, seen = tx.init(params), []
    with jax.numpy_dtype_promotion("standard"):  # Optax's Adam counts in integers
        for _ in range(3):
            update, state = tx.update(jnp.array(1.0), state, params)
            seen.append(float(update))
    np.testing.assert_allclose(seen, [-1e-3, -1e-3, -0.95e-3], rtol=1e-4)


# The host's loader.


def test_pieces_are_weighted_by_their_sizes(module, small, split, monkeypatch):
    host, problems = module["celeba_host"], module["celeba_problem"]
    config = dataclasses.replace(small, loader="host")
    problem = problems.make_problem(config, split)
    assert type(problem.train["images"]) is np.ndarray
    monkeypatch.setattr(host, "EVALUATED", 4)  # 4 + 3 and 4 + 4 + 1 images
    import optax

    from lab import loop as _train_loop

    tx = optax.sgd(0.1)
    start = jax.vmap(lambda seed: _train_loop._start(problem, tx, seed))
    state = jax.jit(start)(jnp.arange(2))
    found = host.HostAdvance(problem, tx, config, "same")._evaluate(state)
    evaluate = jax.jit(jax.vmap(problem.evaluate, in_axes=(0, 0, None)))
    whole = evaluate(state.params, state.model_state, problem.test)
    assert set(found) == set(whole)
    for name, values in whole.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5)


@pytest.mark.parametrize("loader", ["device", "host"])
def test_stopped_and_resumed_is_as_never_stopped(
    module, small, split, tmp_path, loader
):
    """Auto-λ, whose second stream has to go on as well."""
    config = dataclasses.replace(small, loader=loader, aux=())
    kind = "HostAdvance" if loader == "host" else "Advance"
    room = module["celeba_learn"]
    real = getattr(room, kind)

    class Stop(Exception):
        pass

    class Stopping(real):
        def __call__(self, state):
            if int(np.max(state.step)) > 0:
                raise Stop
            return super().__call__(state)

    def learn(config, folder):
        return room.learn(config, split, "autolambda-main", 2, tmp_path / folder)

    whole = learn(config, "whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, kind, Stopping)
        with pytest.raises(Stop):
            learn(config, "cut")
    resumed = learn(dataclasses.replace(config, resume=True), "cut")
    np.testing.assert_array_equal(whole.weights, resumed.weights)
    np.testing.assert_array_equal(whole.losses, resumed.losses)
    for name, values in whole.test.items():
        np.testing.assert_array_equal(values, resumed.test[name])
    assert whole.tasks == ("c", "a", "b")
    assert float(np.ptp(whole.weights)) > 0
    # Once more: nothing is left to do, and the time is the one that was kept.
    again = learn(dataclasses.replace(config, resume=True), "cut")
    assert again.seconds == resumed.seconds > 0


# The report.


def curves_of(accuracy, validation, seconds, **more):
    from lab.curves import Curves

    values = {"accuracy": accuracy, "validation": validation, **more}
    test = {name.replace("_", " "): np.asarray(x, float) for name, x in values.items()}
    count = test["accuracy"].shape
    return Curves(
        epochs=np.arange(count[1]),
        test=test,
        losses=np.zeros((*count, 2)),
        weights=np.full((*count, 2), np.nan),
        tasks=("a", "b"),
        seconds=seconds,
    )


@pytest.fixture(scope="module")
def results(module):
    """Two seeds, three epochs, two attributes."""
    equal = curves_of(
        [[70, 80, 90], [70, 60, 50]], [[1, 3, 2], [5, 5, 4]], 2.0,
        test_a=[[60, 70, 80], [50, 40, 30]],
    )  # fmt: skip
    auto = curves_of([[81, 0, 0], [71, 0, 0]], [[9, 1, 1], [9, 1, 1]], 6.0)
    main = curves_of([[0, 72, 0], [0, 0, 56]], [[1, 2, 1], [1, 1, 2]], 6.0)
    return module["celeba_report"].Results(
        ("test a", "test b"),
        ("a", "b"),
        {"equal": equal, "autolambda-all": auto},
        {(0, "autolambda-main"): main},
    )


def test_the_validation_images_choose_the_epoch(module, results):
    chosen = module["celeba_report"].chosen
    equal = results.multi["equal"]
    # The second epoch; the first of two that are equally good.
    assert chosen(equal).tolist() == [80, 70]
    assert chosen(equal, "test a").tolist() == [70, 50]


def test_table_and_statements(module, results):
    report = module["celeba_report"]
    rows = report.multi_table(results)
    assert rows[0]["range"] == "70.00 to 80.00"
    assert rows[1]["− equal"] == "1.00 ± 0.00"
    assert [row["× equal"] for row in rows] == ["1.00", "3.00"]
    text = " ".join(report.verdict(results))
    assert "2 seeds: autolambda-all" in text
    assert "takes 3.00 times" in text
    assert "− equal: 4.00 ± 2.83 points" in text  # 2 and 6


# The script.


@pytest.fixture(scope="module")
def finished(script, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    words = ["--smoke", "--quiet", "--auxiliary", "autolambda-main"]  # or --aux
    script.main([*words, "--out", str(out)])
    return out / "celeba-smoke"


def test_smoke_leaves_tables_numbers_and_a_figure(finished):
    text = (finished / "celeba.md").read_text()
    assert "**An analogue of CelebA.**" in text
    assert "the paper: Auto-λ alone" not in text  # no verdict from a smoke run
    found = json.loads((finished / "celeba.json").read_text())["results"]
    assert [(x["method"], x["primary"]) for x in found] == [
        ("equal", None),
        ("autolambda-main", "is 0"),
    ]
    assert all(x["seconds per epoch"] > 0 for x in found)
    assert len(found[1]["weights"]) == 4
    assert "is 0" in found[1]["weights"]
    with Image.open(finished / "celeba.png") as image:
        assert image.size[0] > 800
        assert np.ptp(np.asarray(image.convert("L"))) > 150
    folders = {path.name for path in finished.iterdir() if path.is_dir()}
    assert folders == {"multi-equal", "primary-1-autolambda-main"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": ("nonsense",)}, "nonsense"),
        ({"method": ("single",)}, "40 networks"),
        ({"aux": ("nonsense",)}, "nonsense"),
        ({"aux": ("gcs", "gcs")}, "each once"),
        ({"primaries": ("a", "a")}, "each once"),
        ({"dropout": 1.0}, "`dropout` should be in"),
        ({"weight_decay": -1.0}, "`weight_decay` at least 0"),
        ({"size": 4}, "`size` at least 8"),
        ({"shrink": 0}, "`shrink` should be at least 1"),
        ({"width": 0.0}, "`width` should be above 0"),
        ({"learning_rate": 0.0}, "`learning_rate` should be above 0"),
    ],
)
def test_wrong_arguments(script, options, said):
    with pytest.raises(ValueError, match=said):
        script.Config(**options)


def test_a_primary_that_is_none_is_said_at_once(
    script, split, capsys, tmp_path, monkeypatch
):
    monkeypatch.setattr(script, "load_attributes", lambda *_: (split, "a few"))
    with pytest.raises(SystemExit) as error:
        script.main(
            ["--smoke", "--quiet", "--primaries", "beard", "--out", str(tmp_path / "x")]
        )
    assert error.value.code == 2
    assert "among a, b, c. Found beard" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_defaults_follow_the_source(script):
    assert script.Config().network == "cnn"
    assert script.Config(source="celeba").network == "resnet18"
    travels = [
        script.Config(**options).weight_travel
        for options in ({}, {"source": "celeba"}, {"weight_travel": 2.0})
    ]
    assert travels == [1.0, 4.0, 2.0]
    names = [f"attribute {i}" for i in range(40)]
    assert script.choose_primaries(script.Config(), names, 3) == (0, 13, 26)
    wanted = script.Config(primaries=("attribute 7",))
    assert script.choose_primaries(wanted, names, 3) == (7,)
    assert script.choose_primaries(script.Config(aux=()), names, 3) == ()
