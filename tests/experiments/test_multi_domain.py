"""Domains: what they are made of, their networks, the tables, and a small run."""

import dataclasses
import json
import pickle
from importlib import import_module

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from auxjax.data import Images
from tests._scripts import load_script

PARTS = ("data", "figure", "network", "paper", "problem", "report")

pytestmark = pytest.mark.usefixtures("experiments", "quick_compilation")


@pytest.fixture(scope="module")
def module(experiments):
    parts = {f"domains_{x}": import_module(f"domains.{x}") for x in PARTS}
    return {"multi_domain": load_script("multi_domain"), **parts}


@pytest.fixture(scope="module")
def script(module):
    return module["multi_domain"]


@pytest.fixture(scope="module")
def domains(module):
    return module["domains_data"]


@pytest.fixture(scope="module")
def report(module):
    return module["domains_report"]


@pytest.fixture(scope="module")
def small(script):
    return script.Config(
        source="digits", batch_size=2, width=0.125, seeds=2, quiet=True
    )


def numbered(count):
    """`count` images of each of ten classes; each one's corner pixel is its own."""
    labels = np.tile(np.arange(10, dtype=np.int32), count)
    images = np.zeros((len(labels), 8, 8, 1), np.uint8)
    images[:, 0, 0, 0] = np.arange(len(labels)) + 1
    return Images(images, labels)


# What domains are made of.


def test_looks_of_one_image(domains):
    image = np.zeros((1, 8, 8, 1), np.uint8)
    image[0, 0, 7, 0] = 100  # above on the right
    found = {name: look(image)[0, ..., 0] for name, look in domains.LOOKS.items()}
    assert found["plain"][0, 7] == 100
    assert found["turned"][0, 0] == 100  # a quarter turn counter-clockwise
    assert found["mirrored"][0, 0] == 100
    assert found["inverted"][0, 7] == 155
    assert found["inverted"][0, 0] == 255
    assert not found["zoomed"].any()  # outside of the middle
    assert all(np.count_nonzero(found[x]) == 1 for x in ("plain", "turned", "mirrored"))


def test_zooming_keeps_the_corners_of_the_middle(domains):
    image = np.zeros((1, 8, 8, 1), np.uint8)
    image[0, 1:7, 1:7, 0] = np.arange(36).reshape(6, 6)
    found = domains.LOOKS["zoomed"](image)[0, ..., 0]
    assert (found[0, 0], found[0, 7], found[7, 0], found[7, 7]) == (0, 5, 30, 35)


def test_no_training_image_is_in_two_domains(domains):
    train, test = domains.digit_domains(numbered(11), numbered(2))
    assert train.images.shape == (10, 10, 8, 8, 1)  # two of each class and look
    assert test.images.shape == (10, 10, 8, 8, 1)  # two of each class
    assert [d.name for d in train.domains[:2]] == ["plain 0-4", "turned 0-4"]
    assert [d.name for d in train.domains[5:7]] == ["plain 5-9", "turned 5-9"]
    for part in (train, test):
        counts = [np.bincount(part.labels[:, i]).tolist() for i in range(10)]
        assert counts == [[2] * 5] * 10
    corner = {"plain": (0, 0), "turned": (7, 0), "mirrored": (0, 7)}
    seen = {"train": [], "test": []}
    for name, part in (("train", train), ("test", test)):
        for i, domain in enumerate(part.domains):
            if domain.look in corner:
                row, column = corner[domain.look]
                values = part.images[:, i, row, column, 0]
                first = 0 if domain.classes == "0-4" else 5
                # The image numbered k + 1 is of class k modulo 10.
                np.testing.assert_array_equal(
                    part.labels[:, i], (values.astype(int) - 1) % 10 - first
                )
                seen[name] += values.tolist()
    assert len(set(seen["train"])) == len(seen["train"]) == 60
    assert len(seen["test"]) == 60
    assert len(set(seen["test"])) == 20  # the same in every look


def test_too_few_images_are_refused(domains):
    with pytest.raises(ValueError, match=r"5 training images.*Found 0 and 1"):
        domains.digit_domains(numbered(4), numbered(1))


def test_relations(domains):
    train, _ = domains.digit_domains(numbered(5), numbered(1))
    first = train.domains[0]
    found = [domains.relation(first, other) for other in train.domains]
    same, look = domains.SAME_CLASSES, domains.SAME_LOOK
    assert found == ["itself", *[same] * 4, look, *["neither"] * 4]
    weights = {d.name: np.array([float(i), 1.0]) for i, d in enumerate(train.domains)}
    by = domains.by_relation(first, weights, train.domains)
    np.testing.assert_allclose(by[same], [2.5, 1])  # 1, 2, 3, 4
    np.testing.assert_allclose(by["neither"], [7.5, 1])  # 6, 7, 8, 9


def test_cifar_needs_as_many_images_of_each_domain(domains, monkeypatch):
    def uneven(images):
        return [
            Images(np.zeros((n, 2, 2, 3), np.uint8), np.zeros(n, int)) for n in (2, 3)
        ]

    monkeypatch.setattr(domains.data, "cifar100", lambda _: ("train", "test"))
    monkeypatch.setattr(domains.data, "cifar100_domains", uneven)
    with pytest.raises(ValueError, match=r"as many images .* Found 2 to 3"):
        domains.cifar100_domains(None)


# The networks.


@pytest.fixture(scope="module")
def two(domains):
    """Two domains of five images."""
    images = np.random.default_rng(0).integers(0, 255, (5, 2, 8, 8, 1), np.uint8)
    labels = np.stack([np.arange(5), np.arange(5)[::-1]], axis=1).astype(np.int32)
    names = tuple(domains.Domain(x, x, "") for x in ("a", "b"))
    return domains.Domains(images, labels, names)


def losses_of(problem, params, state, key=0):
    """Of the training images, in the tasks' order, which a jitted dict loses."""
    names = []

    def listed(params):
        found, _ = problem.losses(params, state, problem.train, jax.random.key(key))
        names[:] = found
        return [*found.values()]

    values = jax.jit(listed)(params)
    return dict(zip(names, values, strict=True))


def test_a_network_that_says_nothing(module, small, two):
    """Its losses are log 5, and it always answers 0."""
    problem = module["domains_problem"].make_problem(small, two, two)
    params, state = jax.jit(problem.init)(jax.random.key(0))
    zero = jax.tree.map(jnp.zeros_like, params)
    losses = losses_of(problem, zero, state)
    assert tuple(losses) == problem.tasks == ("a", "b")
    np.testing.assert_allclose([*losses.values()], problem.first_losses, rtol=1e-6)
    found = jax.jit(problem.evaluate)(zero, state, problem.test)
    assert {name: round(float(x)) for name, x in found.items()} == {
        "accuracy": 20,
        "a": 20,
        "b": 20,
    }


def test_a_head_belongs_to_its_task_alone(module, small, two):
    import auxjax

    problem = module["domains_problem"].make_problem(small, two, two)
    params, state = jax.jit(problem.init)(jax.random.key(0))
    mask = auxjax.shared_mask(
        lambda p: problem.losses(p, state, problem.train, jax.random.key(0))[0], params
    )
    assert all(jax.tree.leaves(mask["trunk"]))
    assert not any(jax.tree.leaves(mask["heads"]))


def test_the_primary_is_first_and_alone_evaluated(module, small, two):
    problem = module["domains_problem"].make(small, two, two, "gcs", 1)
    assert problem.tasks == ("b", "a")
    np.testing.assert_array_equal(problem.train["labels"][:, 0], [4, 3, 2, 1, 0])
    found = jax.jit(problem.evaluate)(
        *jax.jit(problem.init)(jax.random.key(0)), problem.test
    )
    assert set(found) == {"accuracy", "b"}
    assert found["accuracy"] == found["b"]


def test_single_networks_share_nothing(module, small, two):
    """What one domain shows changes its own network's gradient and no other's."""
    problem = module["domains_problem"].make_singles(small, two, two)
    params, state = jax.jit(problem.init)(jax.random.key(0))
    images = problem.train["images"]
    other = problem.train | {"images": images.at[:, 1].set(255 - images[:, 1])}

    @jax.jit
    @jax.grad
    def gradients(params, batch):
        return problem.losses(params, state, batch, jax.random.key(0))[0]["sum"]

    def gradient(batch):
        return jax.tree.leaves(gradients(params, batch))

    apart = [
        jnp.abs(a - b)
        for a, b in zip(gradient(problem.train), gradient(other), strict=True)
    ]
    assert all(float(x[0].max()) == 0 for x in apart)
    assert any(float(x[1].max()) > 0 for x in apart)


def test_vgg_has_batch_statistics_of_each_domain(module, small, two):
    """A domain's features do not depend on the others' images; its statistics move."""
    network = module["domains_network"]
    trunk = network.make_trunk("vgg16", 1 / 64)
    assert trunk.features == 8
    params, state = jax.jit(lambda k: trunk.init(k, jnp.zeros((1, 8, 8, 1)), 2))(
        jax.random.key(0)
    )
    apply = jax.jit(trunk.apply, static_argnums=3)
    x = jnp.swapaxes(jnp.asarray(two.images, jnp.float32), 0, 1) / 255
    both, moved = apply(params, state, x, True)
    changed, _ = apply(params, state, x.at[1].multiply(3.0).at[1].add(1.0), True)
    assert both.shape == (2, 5, 8)
    np.testing.assert_array_equal(both[0], changed[0])
    means = moved["conv1_1"]["norm"]["mean"]
    assert means.shape == (2, 1)
    assert float(jnp.abs(means[0] - means[1]).max()) > 0
    # What the trunk hands on is the average over what is left of the maps: of ReLUs.
    assert float(both.min()) >= 0
    found, _ = apply(params, moved, x, False)
    assert found.shape == (2, 5, 8)


def test_photographs_are_normalised(module):
    scaled = module["domains_problem"].scaled
    white = jnp.full((1, 1, 1, 3), 255, jnp.uint8)
    expected = [(1 - 0.5071) / 0.2675, (1 - 0.4867) / 0.2565, (1 - 0.4408) / 0.2761]
    np.testing.assert_allclose(scaled(white, True)[0, 0, 0], expected, rtol=1e-5)
    np.testing.assert_allclose(scaled(white, False), 1.0)


def test_the_papers_optimizer(module, small, two):
    """Decay 5e-4, rate 0.1 along half a cosine, momentum 0.9."""
    config = dataclasses.replace(small, learning_rate=0.1)
    tx = module["domains_problem"].make_problem(config, two, two).optimizer(2)
    params = jnp.array(2.0)
    with jax.numpy_dtype_promotion("standard"):  # Optax's schedule counts in integers
        first, state = tx.update(jnp.array(1.0), tx.init(params), params)
        second, _ = tx.update(jnp.array(0.0), state, params)  # half of the rate is left
    np.testing.assert_allclose(first, -0.1 * 1.001, rtol=1e-6)
    np.testing.assert_allclose(second, -0.05 * (0.001 + 0.9 * 1.001), rtol=1e-6)


# The report.


def curves_of(tasks, test, weights):
    from lab.curves import Curves

    weights = np.asarray(weights, float)
    return Curves(
        epochs=np.array([1]),
        test={name: np.asarray(x, float)[:, None] for name, x in test.items()},
        losses=np.zeros_like(weights)[:, None],
        weights=weights[:, None],
        tasks=tuple(tasks),
        seconds=2.0,
    )


@pytest.fixture(scope="module")
def four(domains):
    """0-4 and 5-9, plain and turned."""
    train, _ = domains.digit_domains(numbered(5), numbered(1))
    return domains.few(train).domains


@pytest.fixture(scope="module")
def results(report, four):
    """Two seeds, four domains."""
    names = [d.name for d in four]
    nan = [[np.nan] * 4] * 2

    def multi(values, weights):
        return curves_of(names, dict(zip(names, values, strict=True)), weights)

    single = multi([[80, 60], [50, 50], [90, 90], [40, 40]], nan)
    auto = multi([[88, 66], [50, 50], [90, 90], [40, 40]], [[1, 2, 3, 4]] * 2)
    order = [names[i] for i in (2, 0, 1, 3)]  # the third is primary
    helped = curves_of(
        order, {"accuracy": [95, 97], names[2]: [95, 97]}, [[9, 5, 1, 7], [9, 1, 3, 5]]
    )
    return report.Results(
        tuple(names),
        tuple(f"{i + 1} {name}" for i, name in enumerate(names)),
        {"single": single._replace(tasks=("sum",)), "autolambda-all": auto},
        {(2, "autolambda-main"): helped},
    )


def test_delta_against_single(report, results):
    found = report.accuracies(results, "autolambda-all")
    assert found.shape == (2, 4)
    # One of four domains, alone 70 on average over seeds: 88 and 66.
    gain = report.delta(results, "autolambda-all")
    np.testing.assert_allclose(gain, [25 * 18 / 70, 25 * -4 / 70])
    alone = results.multi["single"]
    never = {**alone.test, results.names[0]: np.zeros((2, 1))}  # of 0 there is no share
    multi = {**results.multi, "single": alone._replace(test=never)}
    lost = report.delta(results._replace(multi=multi), "autolambda-all")
    assert np.isnan(lost).all()
    rows = report.multi_table(results, paper=False)
    assert [row["Δ, %"] for row in rows] == ["0", "2.50 ± 5.56"]
    assert rows[0]["mean accuracy, %"] == "62.5 ± 3.5"  # 65 and 60


def test_weights_stand_in_the_domains_own_order(report, results, four):
    rows = report.matrix(results)
    assert [*rows] == ["3 plain 5-9", "all"]
    np.testing.assert_array_equal(rows["3 plain 5-9"], [[5, 1, 9, 7], [1, 3, 9, 5]])
    found = report.relations(results, four)
    expected = {"itself": [9, 9], "same classes": [7, 5], "same look": [5, 1]}
    for name, values in {**expected, "neither": [1, 3]}.items():
        np.testing.assert_allclose(found[name], values)
    text = " ".join(report.verdict(results, four, analogue=True))
    assert "same classes weigh more than those of neither in 2 of 2" in text
    assert "same look weigh more than those of neither in 1 of 2" in text
    assert "itself weighs the most in 2 of 2" in text
    # Errors 30, 50, 10, 60 and weights 1, 2, 3, 4.
    assert "+0.29" in text
    first, last = report.verdict(results, four, analogue=False)
    assert "3 plain 5-9: the largest weights are plain 5-9 9.00, turned 5-9 6.00" in (
        first
    )
    assert "+0.29" in last


def test_the_papers_table(module):
    paper = module["domains_paper"]
    assert {len(row) for row in paper.ACCURACIES.values()} == {20}
    assert set(paper.ACCURACIES) == set(paper.AVERAGES) == set(paper.SETTINGS)
    # Where the paper's two tables agree, so does what was copied.
    for method in ("autolambda-all", "gcs", "autolambda-main"):
        assert abs(paper.MEANS[method] - paper.AVERAGES[method]) < 0.006
    assert paper.ACCURACIES["single"][14] == 55.37  # people, the hardest


def test_a_domain_has_the_papers_number_by_its_name(module):
    published = module["domains_paper"].published
    assert published("single", "household electrical devices") == 88.72
    assert published("autolambda-main", "flowers") == 82.71
    assert published("single", "aquatic mammals") == 68.65


def test_tables_beside_the_papers(report, results, monkeypatch):
    numbers = {name: 10.0 * i for i, name in enumerate(results.names)}
    monkeypatch.setattr(report, "published", lambda method, name: numbers[name])
    # An average over twenty domains is none of these four.
    assert all("paper, %" not in row for row in report.multi_table(results, paper=True))
    rows = report.auxiliary_table(results, paper=True)
    assert rows[0]["primary: autolambda-main"] == "96.0 ± 1.4"
    assert rows[0]["paper: Auto-λ, auxiliary"] == "20.00"  # the third is primary
    rows = report.domain_table(results, paper=True)
    assert "(paper 10.00)" in rows[1]["single"]


# The script.


@pytest.fixture(scope="module")
def finished(script, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    options = ["--method", "single", "--aux", "autolambda-main"]
    script.main(["--smoke", "--quiet", *options, "--out", str(out)])
    return out / "multi_domain-smoke"


def test_smoke_leaves_tables_numbers_and_a_figure(finished):
    text = (finished / "multi_domain.md").read_text()
    assert "**An analogue**" in text
    assert "paper, %" not in text
    assert "seeds." not in text  # no verdict from a smoke run
    found = json.loads((finished / "multi_domain.json").read_text())
    assert np.shape(found["accuracies"]["single"]) == (2, 4)
    assert [*found["weights"]] == ["1 plain 0-4"]
    assert set(found["relations"]) == {"itself", "same classes", "same look", "neither"}
    with Image.open(finished / "multi_domain.png") as image:
        assert image.size[0] > 800
        assert np.ptp(np.asarray(image.convert("L"))) > 200
    folders = {path.name for path in finished.iterdir() if path.is_dir()}
    assert folders == {"multi-single", "primary-1-autolambda-main"}


def test_stopped_and_resumed_is_as_never_stopped(
    script, domains, tmp_path, monkeypatch
):
    """A run whose second checkpoint and metrics are gone goes on from the first."""
    from lab import loop as _train_loop

    class Stop(Exception):
        pass

    config = script.Config(
        method=("autolambda-all",), aux=(), source="digits", seeds=2, epochs=2,
        eval_every=1, batch_size=8, width=0.1, quiet=True, out=tmp_path, name="whole",
    )  # fmt: skip
    data, test, _ = domains.load_domains("digits", None)
    data, test = data.only([0, 6]), test.only([0, 6])
    data = data._replace(images=data.images[:16], labels=data.labels[:16])
    monkeypatch.setattr(script, "load_domains", lambda *_: (data, test, "few"))
    script.run(config)

    class Stopping(_train_loop.Advance):
        def __call__(self, state):
            if int(np.max(state.step)) > 0:
                raise Stop
            return super().__call__(state)

    cut = dataclasses.replace(config, name="cut")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_train_loop, "Advance", Stopping)
        with pytest.raises(Stop):
            script.run(cut)
    script.run(dataclasses.replace(cut, resume=True))
    whole, resumed = (
        (tmp_path / name / "multi-autolambda-all" / "metrics.jsonl").read_text()
        for name in ("whole", "cut")
    )
    assert whole == resumed
    rows = [json.loads(line) for line in whole.splitlines()]
    assert [row["step"] for row in rows] == [1, 2]
    assert np.ptp([row["weights"] for row in rows]) > 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": ("nonsense",)}, "nonsense"),
        ({"aux": ("nonsense",)}, "nonsense"),
        ({"aux": ("single",)}, "`aux` should be among .* Found single"),
        ({"aux": ("gcs", "gcs")}, "each once"),
        ({"primaries": (1, 1)}, "each once"),
        ({"width": 0.0}, "`width` should be above 0"),
        ({"learning_rate": -1.0}, "`learning_rate` should be above 0"),
        ({"weight_travel": 0.0}, "`weight_travel` should be above 0"),
        ({"shrink": 0}, "`shrink` should be at least 1"),
        ({"source": "cifar100", "shrink": 2}, "1 for cifar100"),
    ],
)
def test_wrong_arguments(script, options, said):
    with pytest.raises(ValueError, match=said):
        script.Config(**options)


def test_a_primary_that_is_none_is_said_at_once(script, capsys, tmp_path):
    with pytest.raises(SystemExit) as error:
        script.main(
            ["--smoke", "--quiet", "--primaries", "5", "--out", str(tmp_path / "runs")]
        )
    assert error.value.code == 2
    assert "among 1, 2, 3, 4. Found 5" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_defaults_follow_the_source(script):
    digits, photographs = script.Config(), script.Config(source="cifar100")
    assert (digits.network, photographs.network) == ("cnn", "vgg16")
    assert photographs.learning_rate == 0.1
    # The paper's 3e-4 over 200 epochs of 2,500 images in batches of 32.
    steps = 200 * (2500 // 32)
    assert photographs.weight_travel / steps == pytest.approx(3e-4)
    assert (digits.learning_rate, digits.weight_travel) == (0.02, 1.0)
    chosen = script.Config(learning_rate=0.5, weight_travel=3.0)
    assert (chosen.learning_rate, chosen.weight_travel) == (0.5, 3.0)
    assert script.choose_primaries(digits, range(1, 11), 4) == (0, 2, 5, 7)
    chosen = script.Config(primaries=(20, 1))
    assert script.choose_primaries(chosen, range(1, 21), 4) == (19, 0)


def test_the_page_says_the_command(finished):
    """What follows from the source is left out; what was asked for is not."""
    text = (finished / "multi_domain.md").read_text()
    (said,) = (line for line in text.splitlines() if line.startswith("    python"))
    assert "--aux autolambda-main" in said
    assert "--learning-rate" not in said
    assert "--network" not in said


def test_auxiliary_is_another_name_of_aux(experiments):
    from lab.options import unless_said
    from lab.spelling import todays_options

    assert unless_said({"aux": ()}, todays_options(["--auxiliary", "gcs"])) == {}
    assert unless_said({"aux": ()}, ["--method", "gcs"]) == {"aux": ()}


def test_blocks_of_pixels_become_their_mean(domains):
    image = np.arange(32, dtype=np.uint8).reshape(1, 4, 4, 2)
    found = domains.block_means(image, 2)
    assert found.shape == (1, 2, 2, 2)
    # 0, 2, 8, 10 in the first channel; 1 more in the second.
    assert found[0, 0, 0].tolist() == [5, 6]
    with pytest.raises(ValueError, match="`shrink` should be at most 4"):
        domains.block_means(image, 5)


@pytest.fixture(scope="module")
def cifar(tmp_path_factory):
    """Files as CIFAR-100's: an image of each fine class to test, two to train on."""
    from auxjax.data._domains import _COARSE

    folder = tmp_path_factory.mktemp("data") / "cifar-100-python"
    folder.mkdir()
    for name, count in (("train", 2), ("test", 1)):
        fine = np.tile(np.arange(100), count)
        pixels = np.zeros((len(fine), 3072), np.uint8)
        pixels[:, 0] = fine  # red, above on the left
        batch = {
            "data": pixels,
            "fine_labels": fine.tolist(),
            "coarse_labels": _COARSE[fine].tolist(),
        }
        (folder / name).write_bytes(pickle.dumps(batch))
    return folder.parent


def test_cifar_has_20_domains_of_five_classes(domains, cifar):
    train, test, described = domains.load_domains("cifar100", cifar)
    assert "10 training and 5 test images per domain" in described
    assert train.images.shape == (10, 20, 32, 32, 3)
    assert test.images.shape == (5, 20, 32, 32, 3)
    people = [d.name for d in train.domains].index("people")
    assert people == 14  # number 15 in the paper's Table 6
    # baby, boy, girl, man, woman.
    fine = np.array([2, 11, 35, 46, 98])
    for part in (train, test):
        red = part.images[:, people, 0, 0, 0]
        np.testing.assert_array_equal(red, fine[part.labels[:, people]])


def test_photographs_are_shifted_and_mirrored_in_training(
    module, script, domains, cifar
):
    """What a step sees depends on its key; what is evaluated does not."""
    train, test, _ = domains.load_domains("cifar100", cifar)
    config = script.Config(source="cifar100", network="cnn", width=0.125)
    two = (part.only([0, 14]) for part in (train, test))
    problem = module["domains_problem"].make_problem(config, *two)
    noise = np.random.default_rng(0).integers(0, 255, problem.train["images"].shape)
    images = jnp.asarray(noise, jnp.uint8)
    problem = problem._replace(train=problem.train | {"images": images})
    params, state = jax.jit(problem.init)(jax.random.key(0))
    one, other = (losses_of(problem, params, state, key) for key in (0, 1))
    assert all(float(one[name]) != float(other[name]) for name in problem.tasks)
    found = jax.jit(problem.evaluate)(params, state, problem.test)
    assert set(found) == {"accuracy", "aquatic mammals", "people"}
