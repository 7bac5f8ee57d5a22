"""What the experiments share: options, folders, reports, axes, curves."""

import dataclasses
import errno
import json
import shlex
from pathlib import Path

import jax.numpy as jnp
import matplotlib.colors
import numpy as np
import optax
import pytest
from matplotlib.figure import Figure

import auxjax
from auxjax.rules import Setting
from auxjax.run import RunError, open_run, parse
from tests._scripts import load_script

pytestmark = pytest.mark.usefixtures("experiments")


@pytest.fixture
def options(experiments):
    from lab import options

    return options


@pytest.fixture
def config(options):
    """A class of configurations with a field of every kind."""
    from lab.options import free

    @dataclasses.dataclass(frozen=True)
    class Config(options.Options):
        method: tuple[str, ...] = free(("equal",))
        seeds: int = 3
        learning_rate: float = 0.1
        augment: bool = True
        labels: bool = False
        size: int | None = None
        clip: float | None = 0.5
        data_dir: Path | None = free(None)

    return Config


# Options.


def test_what_may_change_stands_beside_the_field(options, config):
    found = options.may_differ(config())
    assert found == (
        *("out", "name", "resume", "publish", "quiet"),
        *("method", "data_dir"),
    )
    assert config().method == ("equal",)
    assert config.method == ("equal",)


def test_a_run_that_goes_on_may_change_what_is_free(options, config, tmp_path):
    first = config(out=tmp_path)
    open_run(tmp_path / "x", first)

    def go_on(**changed):
        other = dataclasses.replace(first, **changed)
        free = options.may_differ(other)
        return open_run(tmp_path / "x", other, resume=True, may_differ=free)

    go_on(method=("gcs", "equal"), quiet=True, publish=True, data_dir=tmp_path)
    with pytest.raises(ValueError, match="seeds"):
        go_on(seeds=4)


def test_checks_name_the_field(config):
    config().at_least_one("seeds", "size")
    config().above_zero("learning_rate")
    config().each_once("method")
    config(method=()).each_once("method", empty=True)
    for wrong, check in (
        ({"seeds": 0}, lambda c: c.at_least_one("size", "seeds")),
        ({"learning_rate": 0.0}, lambda c: c.above_zero("learning_rate")),
        ({"learning_rate": float("inf")}, lambda c: c.above_zero("learning_rate")),
        ({"learning_rate": float("nan")}, lambda c: c.above_zero("learning_rate")),
        ({"method": ()}, lambda c: c.each_once("method")),
        ({"method": ("a", "a")}, lambda c: c.each_once("method", empty=True)),
    ):
        (field,) = wrong
        with pytest.raises(ValueError, match=f"`{field}` should"):
            check(config(**wrong))


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"seeds": 5, "learning_rate": 1e-4},
        {"augment": False, "labels": True},
        {"method": ("single", "gcs"), "size": 8},
        {"clip": None, "method": ()},
        {"out": Path("elsewhere"), "name": "x", "quiet": True, "resume": True},
    ],
)
def test_a_command_gives_its_configuration_back(options, config, changed):
    first = config(**changed)
    python, script, *words = shlex.split(options.command("x.py", first))
    assert (python, script) == ("python", "experiments/x.py")
    again = parse(config, args=words)
    assert options.settings(again) == options.settings(first)


def test_settings_tell_no_folder(options, config):
    settings = options.settings(config(data_dir=Path("/home/me"), out=Path("/tmp")))
    assert settings["data_dir"] == "FOLDER"
    assert settings["seeds"] == 3
    assert not {"out", "name", "resume", "publish", "quiet"} & set(settings)
    said = options.command("x.py", config(data_dir=Path("/home/me")))
    assert said == "python experiments/x.py --data-dir FOLDER"


def test_choices_that_the_command_line_makes_stay(options):
    choices = {"source": "digits", "weight_travel": 1.0, "method": ("gcs",)}
    assert options.unless_said(choices, []) == choices
    words = ["--weight_travel=3", "--method", "source"]
    assert options.unless_said(choices, words) == {"source": "digits"}


# Older words.


def test_an_older_option_is_named_once_on_stderr(experiments, capsys):
    from lab.spelling import todays_options

    words = ["--methods=none", "--auxiliary", "gcs", "--ppo_epochs", "3", "--out", "x"]
    assert todays_options(words) == [
        *("--method=none", "--aux", "gcs", "--ppo.epochs", "3", "--out", "x")
    ]
    assert capsys.readouterr().err.splitlines() == [
        "`--methods` is called `--method`.",
        "`--auxiliary` is called `--aux`.",
        "`--ppo_epochs` is called `--ppo.epochs`.",
    ]


def test_an_older_value_is_named_once_however_it_is_said(experiments, capsys):
    config = load_script("atari_a2c").Config
    for words in (["--method", "none", "gcs"], ["--method=none", "--aux=inverse"]):
        assert parse(config, args=words).method[0] == "single"
        assert capsys.readouterr().err == "`none` is called `single`.\n"


# Folders.


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A folder that stands for `experiments/`, with a room in it."""
    from lab import folders

    monkeypatch.setattr(folders, "EXPERIMENTS", tmp_path / "experiments")
    (tmp_path / "experiments" / "room").mkdir(parents=True)
    return tmp_path / "experiments"


def made(report, **more):
    """A report with a table and two figures."""
    rows = [{"rule": "gcs", "error": "1.0 ± 0.1"}]
    values = {
        "stem": "digits",
        "room": "room",
        "script": "x.py",
        "title": "Digits",
        "about": "Five seeds.",
        "tables": {"Errors": rows},
        "numbers": {"results": rows},
        "figures": {
            "": lambda path: path.write_bytes(b"main"),
            "weights": lambda path: path.write_bytes(b"weights"),
            "absent": lambda path: None,
        },
        "verdicts": lambda: ["gcs is ahead"],
        "notes": ["A note."],
    }
    return report.Report(**(values | more))


@pytest.fixture
def report(experiments):
    from lab import report

    return report


def run_folder(tmp_path):
    folder = tmp_path / "runs" / "digits"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("name", [None, "full"])
def test_publish_copies_under_the_name_and_mends_the_links(
    report, config, repository, tmp_path, capsys, name
):
    folder = run_folder(tmp_path)
    report.write(config(publish=True, name=name), made(report), folder)
    results, stem = repository / "room" / "results", name or "digits"
    found = {path.name for path in results.iterdir()}
    ends = (".md", ".json", ".png", "_weights.png")
    assert found == {stem + end for end in ends}
    page = (results / f"{stem}.md").read_text("utf-8")
    assert f"]({stem}.png)" in page
    assert f"]({stem}_weights.png)" in page
    assert (results / f"{stem}_weights.png").read_bytes() == b"weights"
    told = json.loads((results / f"{stem}.json").read_text("utf-8"))
    assert told["results"] == [{"rule": "gcs", "error": "1.0 ± 0.1"}]
    here = (folder / "digits.md").read_text("utf-8")
    assert "](digits.png)" in here
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"Written to {folder} and {results}"


def test_without_publish_nothing_is_copied(report, config, repository, tmp_path):
    report.write(config(), made(report), run_folder(tmp_path))
    assert not any((repository / "room").iterdir())


def test_a_smoke_run_is_not_published(config):
    with pytest.raises(ValueError, match="`publish` should not be said with `smoke`"):
        config(publish=True, smoke=True)


@pytest.mark.parametrize("name", ["a/b", "../x", "a/"])
def test_what_is_published_is_named_and_not_placed(config, name):
    config(name=name)
    config(publish=True, name="a-b.c")
    with pytest.raises(ValueError, match="`name` should have no folder in it"):
        config(publish=True, name=name)


# Reports.


def test_a_page(report, config, tmp_path):
    verdicts = report.write(config(seeds=5), made(report), tmp_path)
    assert verdicts == ["gcs is ahead"]
    about, machine = (tmp_path / "digits.md").read_text("utf-8").split(" Machine: ", 1)
    assert about == ("# Digits\n\n    python experiments/x.py --seeds 5\n\nFive seeds.")
    _, rest = machine.split("\n\n", 1)
    assert rest == (
        "![Digits](digits.png)\n\n![weights](digits_weights.png)\n\n"
        "## Errors\n\n| rule | error |\n|:--|--:|\n| gcs | 1.0 ± 0.1 |\n\n"
        "- gcs is ahead\n\nA note.\n"
    )
    told = json.loads((tmp_path / "digits.json").read_text("utf-8"))
    assert set(told) == {"command", "config", "machine", "results"}
    assert told["config"]["seeds"] == 5
    assert "out" not in told["config"]


def test_a_small_runs_page_says_so_and_judges_nothing(report, config, tmp_path):
    given = made(report, verdicts=lambda: pytest.fail("judged"))
    assert report.write(config(smoke=True), given, tmp_path) == []
    assert f"- {report.NOTHING}\n" in (tmp_path / "digits.md").read_text("utf-8")


def test_a_full_disk_is_one_line_and_leaves_the_numbers(report, config, tmp_path):
    def draw(path):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    given = made(report, figures={"": draw})
    with pytest.raises(RunError, match=r"should be writable\. Found: No space left"):
        report.write(config(), given, tmp_path)
    assert json.loads((tmp_path / "digits.json").read_text("utf-8"))["results"]


def test_a_run_that_is_read_again_has_the_times_of_when_it_was_made(tmp_path):
    from lab.timed import remembered

    assert np.isnan(remembered(tmp_path, "seconds", np.nan))
    assert remembered(tmp_path, "seconds", 2.5) == 2.5
    assert remembered(tmp_path, "seconds", np.nan) == 2.5


def test_a_table_without_rows_is_not_shown(report, config, tmp_path, capsys):
    given = made(report, tables={"Errors": []}, figures={}, notes=())
    report.write(config(), given, tmp_path)
    assert "Errors" not in capsys.readouterr().out


def test_the_terminal_may_show_other_tables(report, config, tmp_path, capsys):
    given = made(report, shown={"In short": [{"rule": "olaux"}]})
    report.write(config(), given, tmp_path)
    said = capsys.readouterr().out
    assert "In short" in said
    assert "olaux" in said
    assert "Errors" not in said
    assert "olaux" not in (tmp_path / "digits.md").read_text("utf-8")


# Axes.


def test_bare_axes_have_no_box_and_a_grid():
    from lab.axes import bare

    left, right = Figure().subplots(1, 2)
    bare(left, right, grid="y")
    for axis in (left, right):
        assert not axis.spines["top"].get_visible()
        assert not axis.spines["right"].get_visible()
        assert axis.spines["left"].get_visible()
        assert axis.yaxis.get_gridlines()[0].get_visible()
        assert not axis.xaxis.get_gridlines()[0].get_visible()


def test_rows_of_points_run_downwards():
    from lab.axes import rows_of_points

    axis = Figure().subplots()
    assert rows_of_points(axis, ["first", "second"]).tolist() == [0, 1]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["first", "second"]
    low, high = axis.get_ylim()
    assert low > high


def test_a_line_over_seeds_has_a_band_of_its_colour():
    from lab.axes import over_seeds

    axis, values = Figure().subplots(), np.array([[1.0, 2.0], [3.0, 6.0]])
    over_seeds(axis, np.array([0, 1]), values, color="tab:red", label="x")
    (line,), (band,) = axis.lines, axis.collections
    assert line.get_ydata().tolist() == [2, 4]
    colour = matplotlib.colors.to_rgb("tab:red")
    assert tuple(band.get_facecolor()[0][:3]) == pytest.approx(colour)
    points = band.get_paths()[0].vertices
    std = values.std(axis=0, ddof=1)
    assert points[:, 1].max() == pytest.approx(4 + std[1])
    assert points[:, 1].min() == pytest.approx(2 - std[0])


# Curves.


def test_curves_are_what_was_measured(tmp_path):
    from lab.curves import read_curves

    run = open_run(tmp_path / "run", dataclasses.make_dataclass("Config", [])())
    rows = [
        {
            "step": step,
            "losses": [[1.0 * step, 2.0], [3.0, 4.0]],  # [seeds, T]
            "weights": [[1.0, 0.5], [1.0, 0.25 * step]],
            "test": {"error": [10.0 / step, 20.0]},
        }
        for step in (1, 2, 4)
    ]
    run.metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    curves = read_curves(run, ("main", "other"), 0.5)
    assert curves.epochs.tolist() == [1, 2, 4]
    assert curves.losses.shape == (2, 3, 2)
    np.testing.assert_array_equal(curves.losses[0, :, 0], [1, 2, 4])
    np.testing.assert_array_equal(curves.weights[1, :, 1], [0.25, 0.5, 1])
    np.testing.assert_array_equal(curves.last("error"), [2.5, 20])
    assert (curves.tasks, curves.seconds) == (("main", "other"), 0.5)


def test_a_rule_without_weights_has_none_in_its_curves(tmp_path):
    from lab.curves import read_curves

    run = open_run(tmp_path / "run", dataclasses.make_dataclass("Config", [])())
    row = {"step": 1, "losses": [[1.0, 2.0]], "test": {"error": [3.0]}}
    run.metrics.write_text(json.dumps(row) + "\n")
    assert np.isnan(read_curves(run, ("a", "b"), 1.0).weights).all()


# Rules of our own.


def a_step(rule, params, *, rate=1.0):
    """One update of three losses: two pull at a trunk, the third at nothing shared."""

    def losses(p):
        return {
            "main": jnp.sum((p - 1.0) ** 2),
            "near": 2 * jnp.sum((p - 0.5) ** 2),
            "far": -3 * jnp.sum(p),
        }

    setting = Setting(3, optax.sgd(rate), steps=4)
    tx = rule(setting)
    state = tx.init(params)
    jac = auxjax.task_jacobian(losses, params)
    return tx.update(jac, state, params, meta_losses=losses)


@pytest.mark.parametrize("weight", [0.1, 0.3])
def test_a_constant_weight_is_a_learning_rate(experiments, weight):
    """Under plain SGD, the main task's gradient included."""
    from lab.rules import BY_NAME, RULES

    params = jnp.array([0.2, -0.7])
    found, state = a_step(BY_NAME[f"constant-{weight}"], params)
    slower, _ = a_step(RULES["equal"], params, rate=weight)
    np.testing.assert_allclose(found, slower, rtol=1e-6)
    np.testing.assert_allclose(optax.tree.get(state, "weights"), [weight] * 3)


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("autolambda-sum", "autolambda-main"),
        ("autolambda-all-sum", "autolambda-all"),
    ],
)
def test_autolambda_at_a_mean_weight_of_one(experiments, name, raw):
    """Learned as ever, for the lookahead has the raw λ; applied at a sum of T."""
    from lab.rules import BY_NAME

    params = jnp.array([0.2, -0.7])
    found, state = a_step(BY_NAME[name], params)
    plain, before = a_step(BY_NAME[raw], params)
    lambdas = np.asarray(optax.tree.get(before, "weights"))
    np.testing.assert_array_equal(optax.tree.get(state, "weights"), lambdas)
    factor = 3 / np.abs(lambdas).sum()
    np.testing.assert_allclose(found, factor * plain, rtol=1e-5)
    applied = optax.tree.get(state, "applied")
    np.testing.assert_allclose(applied, factor * np.abs(lambdas), rtol=1e-5)
    assert BY_NAME[name].kind == BY_NAME[raw].kind


def test_scripts_know_the_rules_of_our_own(experiments):
    """And the library's table stays the library's."""
    from lab.rules import BY_NAME, RULES
    from lab.training import Training

    own = {"constant-0.1", "constant-0.3", "autolambda-sum", "autolambda-all-sum"}
    assert own <= {*Training.KNOWN}
    assert not own & {*RULES}
    assert {*BY_NAME} | {"single"} == {*Training.KNOWN}
    assert Training(method=("constant-0.1",)).method == ("constant-0.1",)
