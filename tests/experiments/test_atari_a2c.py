"""The A2C experiment as its users meet it: files, tables, stops and mistakes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from auxjax.rl import A2CConfig
from auxjax.run import last_checkpoint, read_metrics
from auxjax.run._checkpoint import _read_arrays
from tests._scripts import load_script

KILLED = Path(__file__).with_name("killed_a2c.py")

# Six chunks of ten frames: the least that can be stopped between two checkpoints.
TINY = [
    *("--env", "Probe-Action", "--aux", "inverse", "--num-envs", "2"),
    *("--rollout-length", "1", "--frames", "60", "--chunk", "5", "--horizon", "2"),
    *("--features", "8", "--hidden", "8", "--checkpoint-every", "2", "--quiet"),
    *("--no-clip-at-zero", "--method", "olaux"),
]

pytestmark = pytest.mark.usefixtures("experiments", "quick_compilation")


@pytest.fixture(scope="module")
def scripts(experiments):
    """The experiment's modules."""
    from a2c import report as _a2c_report
    from a2c import run as _a2c_run

    atari_a2c = load_script("atari_a2c")

    return {"main": atari_a2c, "run": _a2c_run, "report": _a2c_report}


@pytest.fixture(scope="module")
def main(scripts):
    return scripts["main"].main


def refused(main, capsys, *args):
    """The exit code, and what was said on stderr in one line."""
    with pytest.raises(SystemExit) as stopped:
        main([*map(str, args)])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    # A box is drawn around some messages, and long ones are wrapped.
    words = said.err.replace("│", " ").split()
    return stopped.value.code, " ".join(words)


def assert_figure(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert 600 <= image.width <= 1200
        assert 250 <= image.height <= 1200
        pixels = np.asarray(image.convert("RGB"), int)
    # Curves and not an empty frame: some pixels are neither white, grey nor black.
    assert (np.ptp(pixels, axis=-1) > 60).sum() > 100


def names_in(folder):
    return {item.name for item in folder.iterdir()}


def assert_same_run(folder, whole):
    """Metrics and last checkpoint, bit by bit."""
    found, expected = folder / "metrics.jsonl", whole / "metrics.jsonl"
    assert found.read_bytes() == expected.read_bytes()
    found, expected = (last_checkpoint(x / "checkpoint") for x in (folder, whole))
    assert found.name == expected.name
    found, expected = _read_arrays(found), _read_arrays(expected)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        assert found[name].tobytes() == array.tobytes()


@pytest.fixture(scope="module")
def whole(main, tmp_path_factory):
    """A run that nothing disturbed."""
    out = tmp_path_factory.mktemp("whole")
    main([*TINY, "--out", str(out), "--name", "run"])
    return out / "run"


def compare(scripts, config, curves, folder):
    """The page and all that belongs to it."""
    from lab.report import write

    write(config, scripts["report"].report(config, curves), folder)


def test_what_a_run_leaves(main, scripts, tmp_path, capsys):
    """By default a baseline beside OL-AUX, which a small run leaves out."""
    assert scripts["main"].Config().method == ("single", "olaux")
    words = ["--smoke", "--env", "Probe-Image", "--aux", "flow"]
    words += ["--method", "single", "olaux"]
    main([*words, "--out", str(tmp_path)])
    said = capsys.readouterr()
    (folder,) = tmp_path.iterdir()
    assert folder.name == "Probe-Image-single-olaux-smoke"
    figures = {"atari_a2c.png", "atari_a2c_weights.png"}
    pages = {"atari_a2c.md", "atari_a2c.json"}
    assert names_in(folder) == figures | pages | {"single", "olaux"}
    for name in figures:
        assert_figure(folder / name)
    run = folder / "olaux"
    files = {"config.json", "metrics.jsonl", "checkpoint", "times.json"}
    assert names_in(run) == files
    config = json.loads((run / "config.json").read_text())
    assert (config["env"], config["method"], config["aux"]) == (
        *("Probe-Image", ["olaux"]),
        ["flow"],
    )
    rows = read_metrics(run / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(200, 2001, 200))
    # 8 worlds × 25 steps per chunk, and an episode takes 20.
    assert sum(row["episodes"][0] for row in rows) == 8 * 250 // 20 - 4
    assert {row["length"][0] for row in rows} == {20.0}
    assert rows[-1]["weights"][0][0] == 1
    assert rows[-1]["weights"][0][1] != 1
    assert np.isfinite([row["losses"] for row in rows]).all()
    assert last_checkpoint(run / "checkpoint").name == "2000"

    assert "100%  2k/2k frames" in said.err
    assert "return=" in said.err
    assert " w=[" in said.err
    assert "Probe-Image, 2k frames, 1 seed" in said.out
    assert said.out.splitlines()[-1] == f"Written to {folder}"
    results = json.loads((folder / "atari_a2c.json").read_text())
    assert results["command"].startswith("python experiments/atari_a2c.py --env Probe")
    assert results["config"]["aux"] == ["flow"]
    found = results["rows"]
    assert [row["method"] for row in found] == ["single", "olaux"]
    assert all(float(row["final return"]) > 0 for row in found)


def test_the_figure_shows_baseline_and_olaux_by_name(scripts, monkeypatch, tmp_path):
    drawn = {}

    def note(curves, path, **options):
        drawn[path.name] = list(curves)

    monkeypatch.setattr(scripts["report"], "plot_learning_curves", note)
    config = scripts["main"].Config(env="Probe-Image")
    curves = {m: curves_of(scripts, np.ones((1, 5))) for m in config.method}
    compare(scripts, config, curves, tmp_path)
    assert drawn == {"atari_a2c.png": ["single", "olaux"]}


def test_weights_stay_at_or_above_zero_by_default(scripts):
    """Else a loss without a bound grows: see the experiment's README."""
    main, run = scripts["main"], scripts["run"]
    assert run.variants(main.Config())["olaux"].clip_at_zero
    assert not A2CConfig().clip_at_zero  # the paper's


def test_methods_side_by_side(main, whole, tmp_path, capsys):
    methods = ["single", "olaux", "olaux1"]
    args = [*TINY, "--out", str(tmp_path), "--seeds", "2", "--single-tasks"]
    main([*args, "--method", *methods])
    said = capsys.readouterr().out
    (folder,) = tmp_path.iterdir()
    assert folder.name == "Probe-Action-single-olaux-olaux1-single-tasks"
    ends = ("", "_ablation", "_single_tasks", "_weights")
    figures = {f"atari_a2c{end}.png" for end in ends}
    for name in figures:
        assert_figure(folder / name)
    variants = [*methods, "only inverse"]
    pages = {"atari_a2c.md", "atari_a2c.json"}
    assert names_in(folder) == figures | pages | {*variants}

    assert "Probe-Action, 60 frames, 2 seeds" in said
    assert max(map(len, said.splitlines()[:-1])) <= 80  # without the folder's name
    table, weights = said.split("Final weights")
    for name in variants:
        assert f"│ {name} " in table
    assert "±" in table
    # Equal weights are no news.
    assert [name for name in variants if f"│ {name} " in weights] == ["olaux", "olaux1"]
    results = json.loads((folder / "atari_a2c.json").read_text())
    assert [row["method"] for row in results["rows"]] == variants
    assert {k: len(v) for k, v in results["final returns"].items()} == dict.fromkeys(
        variants, 2
    )

    # The seeds run together, and each is the run that it would be alone.
    pair = read_metrics(folder / "olaux" / "metrics.jsonl")
    for row, alone in zip(pair, read_metrics(whole / "metrics.jsonl"), strict=True):
        assert row["step"] == alone["step"]
        for name in ("return", "episodes", "weights", "losses"):
            np.testing.assert_allclose(row[name][0], alone[name][0], rtol=1e-4)
    assert pair[-1]["losses"][0] != pair[-1]["losses"][1]
    config = json.loads((folder / "only inverse" / "config.json").read_text())
    assert (config["method"], config["aux"]) == (["log_loss"], ["inverse"])


def test_the_words_of_older_commands(main, whole, tmp_path, capsys):
    words = [word.replace("--method", "--methods") for word in TINY]
    main([*words, "none", "balance", "cosine", "--out", str(tmp_path), "--name", "run"])
    said = capsys.readouterr().err.splitlines()
    assert said[:4] == [
        "`--methods` is called `--method`.",
        "`none` is called `single`.",
        "`balance` is called `log_loss`.",
        "`cosine` is called `gcs`.",
    ]
    folders = {"olaux", "single", "log_loss", "gcs"}
    assert folders < names_in(tmp_path / "run")
    found = [folder / "metrics.jsonl" for folder in (tmp_path / "run" / "olaux", whole)]
    assert found[0].read_bytes() == found[1].read_bytes()


def test_several_runs_in_one_table(main, scripts, whole, tmp_path, capsys):
    args = [*TINY, "single", "--out", str(tmp_path), "--name", "run", "--frames", "30"]
    main(args)
    summarise = load_script("summarise_a2c").main
    summarise([str(tmp_path / "run"), "--out", str(tmp_path)])
    found = {"a2c.md", "learning_curves.png", "weights.png"}
    assert names_in(tmp_path / "summary") == found
    rows = (tmp_path / "summary" / "a2c.md").read_text().splitlines()[2:]
    cells = [[cell.strip() for cell in row.split("|")[1:5]] for row in rows]
    assert cells == [
        ["Probe-Action", "30", "1", method] for method in ("single", "olaux")
    ]
    (tmp_path / "run" / "single").rename(tmp_path / "run" / "none")  # an older run
    summarise([str(tmp_path / "run"), "--out", str(tmp_path)])
    first, second = (tmp_path / name / "a2c.md" for name in ("summary", "summary-2"))
    assert second.read_bytes() == first.read_bytes()
    code, said = refused(summarise, capsys)
    assert code == 2
    assert "`folders` should name at least one. Found none." in said
    code, said = refused(summarise, capsys, tmp_path)
    assert code == 2
    assert "should hold one game's runs, a subfolder per method. Found no runs" in said


def test_a_summary_is_published_by_the_names_that_its_page_links(
    main, tmp_path, monkeypatch
):
    from lab import folders

    monkeypatch.setattr(folders, "EXPERIMENTS", tmp_path)
    (tmp_path / "a2c").mkdir()
    one = [*TINY, "--out", str(tmp_path / "run"), "--name", "olaux"]
    main([*one, "--frames", "30"])  # as if others had run beside it
    words = ["--out", str(tmp_path), "--publish"]
    load_script("summarise_a2c").main([str(tmp_path / "run"), *words])
    found = names_in(tmp_path / "a2c" / "results")
    assert found == {"a2c.md", "learning_curves.png", "weights.png"}


def test_each_agent_is_built_once_and_all_play_in_the_same_worlds(
    main, scripts, monkeypatch, tmp_path
):
    built, worlds = [], []
    make_agent, make = scripts["run"].make_agent, scripts["run"].make

    def note_agent(config, **options):
        built.append(config.method)
        return make_agent(config, **options)

    def note_worlds(*args):
        worlds.append(args)
        return make(*args)

    monkeypatch.setattr(scripts["run"], "make_agent", note_agent)
    monkeypatch.setattr(scripts["run"], "make", note_worlds)
    words = [*TINY, "single", "--frames", "10", "--chunk", "1"]
    main([*words, "--out", str(tmp_path)])
    assert built == ["olaux", "single"]
    assert worlds == [("Probe-Action", 2)]


def test_what_may_change_on_resume_is_said_beside_the_field(scripts):
    from lab.options import may_differ

    free = set(may_differ(scripts["main"].Config()))
    assert {"frames", "single_tasks", "score", "checkpoint_every", "out"} < free
    assert not {"method", "aux", "seeds", "learning_rate", "chunk"} & free


def test_killed_then_resumed(main, whole, tmp_path):
    args = [*TINY, "--out", str(tmp_path), "--name", "run"]
    done = subprocess.run(
        [sys.executable, str(KILLED), *args],
        # The same programs, from the same cache, in the other process.
        env={
            **os.environ,
            "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    folder = tmp_path / "run"
    assert last_checkpoint(folder / "checkpoint").name == "20"
    assert len(read_metrics(folder / "metrics.jsonl")) == 3
    assert not (folder / "atari_a2c.png").exists()
    main([*args, "--resume"])
    assert_same_run(folder, whole)
    assert names_in(folder) == names_in(whole)


def test_ctrl_c_then_resumed(main, scripts, whole, tmp_path, monkeypatch, capsys):
    rows, row = [], scripts["run"]._row

    def press(*args):
        rows.append(row(*args))
        if len(rows) == 3:
            signal.raise_signal(signal.SIGINT)
        return rows[-1]

    args = [*TINY, "--out", tmp_path, "--name", "run"]
    with monkeypatch.context() as patch:
        patch.setattr(scripts["run"], "_row", press)
        code, said = refused(main, capsys, *args)
    assert code == 130
    assert "Stopped at step 30; resume with --resume" in said
    assert len(read_metrics(tmp_path / "run" / "metrics.jsonl")) == 3
    main([*map(str, args), "--resume"])
    assert_same_run(tmp_path / "run", whole)


def test_ctrl_c_before_the_first_update(main, scripts, monkeypatch, tmp_path, capsys):
    def press(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(scripts["run"], "start", press)
    assert refused(main, capsys, *TINY, "--out", tmp_path) == (130, "Stopped.")


def test_more_frames_on_resume(main, whole, tmp_path, capsys):
    args = [*map(str, (*TINY, "--out", tmp_path, "--name", "run"))]
    main([*args, "--frames", "30"])
    assert last_checkpoint(tmp_path / "run" / "checkpoint").name == "30"
    main([*args, "--resume"])
    assert_same_run(tmp_path / "run", whole)
    # Nothing is left to do: the figures are drawn again, no speed is measured.
    capsys.readouterr()
    main([*args, "--resume"])
    assert_same_run(tmp_path / "run", whole)
    assert "60 frames" in capsys.readouterr().out
    code, said = refused(main, capsys, *args, "--resume", "--frames", 30)
    assert code == 2
    assert "`frames` should be at least 60" in said
    assert "Found 30" in said


def test_another_configuration(main, whole, capsys):
    args = [*TINY, "--out", whole.parent, "--name", "run"]
    before = (whole / "config.json").read_bytes()
    code, said = refused(main, capsys, *args, "--resume", "--learning-rate", 0.5)
    assert code == 2
    assert "has another configuration" in said
    assert "`learning_rate` should be 0.001. Found 0.5." in said
    assert (whole / "config.json").read_bytes() == before

    code, said = refused(main, capsys, *args)
    assert code == 2
    assert "should be a new or empty folder. Found a run: pass --resume" in said


def test_the_default_name(scripts):
    Config, name = scripts["main"].Config, scripts["run"].default_name
    config = Config(env="ALE/Pong-v5", method=("single", "olaux"))
    assert name(config) == "ALE-Pong-v5-single-olaux"
    assert name(Config(single_tasks=True)).endswith("-single-olaux-single-tasks")


def test_a_folder_that_cannot_be_made(main, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    code, said = refused(main, capsys, *TINY, "--out", tmp_path / "file" / "runs")
    assert code == 2
    assert "should be writable. Found: Not a directory." in said


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--method", "olaux5"], "`method` should be one of single, equal, log_loss"),
        (["--env", "Pong"], "should be one of Breakout-MinAtar"),
        (["--env", "Breakout-Minatar"], "Did you mean 'Breakout-MinAtar'?"),
        (["--aux", "depth"], "`aux` should hold names of forward"),
        (["--aux", "flow"], "olaux on Probe-Action: The auxiliary task `flow` needs"),
        (["--method", "none", "single"], "`method` should name at least one, and each"),
        (["--method"], "`method` should name at least one, and each once. Found none"),
        (["--rollout-length", "0"], "`rollout_length` should be at least 1. Found 0."),
        (["--seeds", "0"], "`seeds` should be at least 1. Found 0."),
        (["--chunk", "0"], "`chunk` should be at least 1. Found 0."),
        (["--frames", "many"], "invalid literal for int() with base 10: 'many'"),
        (["--lerning-rate", "1"], "--learning-rate"),
        (["--smoke"], "`--frames --num-envs --rollout-length"),
    ],
    ids=lambda x: "-".join(x) if isinstance(x, list) else "",
)
def test_a_wrong_command(main, tmp_path, capsys, args, message):
    code, said = refused(main, capsys, *TINY, "--out", tmp_path, *args)
    assert code == 2
    assert message in said
    assert not any(tmp_path.iterdir())


def test_every_variant_is_checked_before_the_first_one_runs(main, tmp_path, capsys):
    args = [*TINY, "--out", tmp_path, "--method", "single", "olaux", "--aux", "flow"]
    code, said = refused(main, capsys, *args)
    assert (code, "olaux on Probe-Action" in said) == (2, True)
    assert not any(tmp_path.iterdir())


def test_a_loss_that_is_not_finite(main, tmp_path, capsys):
    args = [*TINY, "--out", tmp_path, "--name", "run", "--checkpoint-every", 1]
    # Steps of 1e18 a parameter: after ten of them a sum of products is too large.
    code, said = refused(main, capsys, *args, "--learning-rate", 1e18)
    assert code == 1
    checkpoint = last_checkpoint(tmp_path / "run" / "checkpoint")
    assert checkpoint.name == "10"
    assert "The loss of `inverse` is nan at step 20" in said
    assert f"The last good checkpoint is of step 10: {checkpoint}." in said

    # At once: there is no checkpoint to name.
    args = [*TINY, "--out", tmp_path, "--name", "other", "--learning-rate", "3e38"]
    code, said = refused(main, capsys, *args)
    assert code == 1
    assert "is nan at step 4. No checkpoint was saved before it." in said


def curves_of(scripts, returns, weights=None):
    returns = np.asarray(returns, np.float64)
    n = returns.shape[1]
    weights = np.ones((len(returns), n, 2)) if weights is None else weights
    return scripts["run"].Curves(
        frames=np.arange(1, n + 1) * 100,
        returns=returns,
        weights=weights,
        losses=np.zeros((len(returns), n, 2)),
        tasks=("main", "flow"),
        speed=1234.0,
    )


def test_smoothed_counts_what_is_known(scripts):
    nan = np.nan
    returns = np.array([[nan, 1.0, nan, 3.0, 5.0, nan, nan, nan]])
    found = scripts["report"].smoothed(returns, window=3)
    np.testing.assert_array_equal(found, [[nan, 1, 1, 2, 4, 4, 5, nan]])


def test_the_table(scripts, tmp_path, capsys):
    """Twenty chunks: the last tenth is two of them."""
    Config = scripts["main"].Config
    rising = np.arange(1.0, 21.0)
    weights = np.ones((2, 20, 2))
    weights[:, -2:, 1] = [[0.2, 0.4], [0.6, 0.8]]
    curves = {
        "single": curves_of(scripts, [rising * 0.1, rising * 0.1]),
        "olaux": curves_of(scripts, [rising, rising + 2], weights),
    }
    config = Config(env="Probe-Image", method=("single", "olaux"), seeds=2)
    compare(scripts, config, curves, tmp_path)
    results = json.loads((tmp_path / "atari_a2c.json").read_text())
    finals = results["final returns"]
    np.testing.assert_allclose(finals["single"], [1.95, 1.95])
    np.testing.assert_allclose(finals["olaux"], [19.5, 21.5])
    # Half of 20.5 is 10.2; the mean over ten chunks is there at chunk 14.
    assert results["rows"] == [
        {
            "method": "single",
            "final return": "2.0 ± 0.0",
            "frames to return 10.2": None,
            "frames/s": "1.23k",
        },
        {
            "method": "olaux",
            "final return": "20.5 ± 1.4",
            "frames to return 10.2": "1.4k",
            "frames/s": "1.23k",
        },
    ]
    assert results["weights"] == [{"method": "olaux", "flow": "0.50"}]
    said = capsys.readouterr().out
    assert "not reached" in said
    assert max(map(len, said.splitlines())) <= 80


def test_a_score_where_returns_are_negative(scripts):
    assert scripts["report"].half_as_good(9.0) == 4.5
    assert scripts["report"].half_as_good(-5.0) == -10.0


def test_no_episode_ended(scripts, tmp_path, capsys):
    """As in the first minutes of a long game; warnings are errors here."""
    curves = {"olaux": curves_of(scripts, np.full((1, 5), np.nan))}
    config = scripts["main"].Config(env="ALE/Pong-v5")
    compare(scripts, config, curves, tmp_path)
    assert "no episode ended" in capsys.readouterr().out
    (row,) = json.loads((tmp_path / "atari_a2c.json").read_text())["rows"]
    assert set(row) == {"method", "final return", "frames/s"}
    assert (tmp_path / "atari_a2c.png").exists()


@pytest.mark.slow
def test_atari_runs_its_seeds_one_after_another(main, tmp_path, capsys):
    args = ["--env", "ALE/Pong-v5", "--num-envs", "2", "--seeds", "2"]
    args += ["--frames", "2000", "--rollout-length", "5", "--features", "16"]
    args += ["--method", "single", "--out", str(tmp_path), "--name", "run"]
    main(args)
    folder = tmp_path / "run"
    assert {"seed0", "seed1", "atari_a2c.png"} <= names_in(folder)
    rows = [read_metrics(folder / s / "metrics.jsonl") for s in ("seed0", "seed1")]
    assert [row["step"] for row in rows[0]] == [row["step"] for row in rows[1]]
    assert rows[0][-1]["losses"] != rows[1][-1]["losses"]
    main([*args, "--resume"])  # both are done: there is nothing to resume
    assert "no episode ended" in capsys.readouterr().out
