"""What all scripts share: how they start, what they refuse, where they write."""

import ast
import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest

from auxjax.run import parse, plain_errors
from tests._scripts import load_script
from tests.stacks import project, requirements

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ROOT / "experiments"
SCRIPTS = sorted(path.stem for path in EXPERIMENTS.glob("*.py"))
RL = ("atari_a2c", "summarise_a2c")
every_script = pytest.mark.parametrize("name", SCRIPTS)

pytestmark = pytest.mark.usefixtures("experiments", "quick_compilation")


@pytest.fixture
def start(experiments):
    from lab import start

    return start


@pytest.fixture
def report(experiments):
    from lab import report

    return report


@pytest.fixture
def folders(experiments):
    from lab import folders

    return folders


@contextlib.contextmanager
def english_terminal():
    """Stdout that has letters for English alone; yields what gives back its text."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")

    def printed():
        stream.flush()
        return stream.buffer.getvalue().decode("ascii")

    with contextlib.redirect_stdout(stream):
        yield printed


def options(**more):
    """A configuration of which nothing but the common options is asked."""
    from lab.options import Options

    return Options(**more)


def refused(script, words, capsys):
    """The exit code, and what was said on stderr without the boxes around it."""
    with pytest.raises(SystemExit) as stopped:
        script.main(words)
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return stopped.value.code, " ".join(said.replace("│", " ").split())


# Packages.


@every_script
def test_without_its_packages_a_script_says_which_extra(name):
    """Without site-packages there is not even JAX."""
    done = subprocess.run(
        [sys.executable, "-S", "-E", str(EXPERIMENTS / f"{name}.py"), "--help"],
        capture_output=True,
        text=True,
    )
    extras = "rl,plots" if name in RL else "vision,plots"
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(
        rf"error: {name}\.py needs packages that this Python has not \(jax, optax, "
        rf'.*matplotlib\)\. Install them: pip install -e "\.\[{extras}\]"'
        r"(, or start it with \.venv/bin/python)?\n",
        done.stderr,
    )


def test_one_package_is_enough_to_be_missed(start, monkeypatch, capsys):
    known = start._is_there
    monkeypatch.setattr(start, "_is_there", lambda name: name != "tyro" and known(name))
    monkeypatch.setattr(sys, "argv", ["experiments/celeba.py"])
    with pytest.raises(SystemExit) as stopped, start.needs("vision", "plots"):
        raise AssertionError("imported")
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: celeba.py needs packages")
    assert "has not (tyro). Install them: pip install -e" in said
    assert start._is_there("orbax.checkpoint")
    assert not start._is_there("nowhere.to.be.found")


def test_the_extras_hold_what_is_looked_for(start):
    dists = packages_distributions()
    for extra, modules in start.PACKAGES.items():
        listed = {name.lower() for name in requirements(project(), extra)}
        for module in modules:
            found = {dist.lower() for dist in dists[module.partition(".")[0]]}
            assert listed & found, (extra, module)


# The terminal.


@every_script
def test_help_renders_on_any_terminal(name):
    script = load_script(name)
    with english_terminal() as printed:
        with pytest.raises(SystemExit) as stopped:
            script.main(["--help"])
        said = printed()
    assert stopped.value.code == 0
    assert "usage:" in said
    assert "--out" in said
    assert ("--smoke" in said) == (name != "summarise_a2c")


def said_by(report, folder, **more):
    """What `write` is given; more is the report's."""
    rows = [{"rule": "λ", "Δ_MTL, %": "1.0 ± 0.1"}]
    values = {
        "stem": "x",
        "room": "x",
        "script": "x.py",
        "title": "X",
        "about": "Little.",
        "tables": {"Mean ±": rows},
        "numbers": {"results": rows},
        "figures": {"": lambda path: path.write_bytes(b"drawn")},
        "verdicts": lambda: ["Δ"],
    }
    return report.Report(**(values | more)), folder


def test_results_are_written_before_they_are_printed(report, tmp_path, monkeypatch):
    """A terminal that fails costs nothing that was measured."""

    def fail(*_):
        raise OSError("no terminal")

    monkeypatch.setattr(report, "print_table", fail)
    with pytest.raises(OSError, match="no terminal"):
        report.write(options(), *said_by(report, tmp_path))
    assert (tmp_path / "x.png").read_bytes() == b"drawn"
    assert "1.0 ± 0.1" in (tmp_path / "x.md").read_text("utf-8")
    assert "results" in json.loads((tmp_path / "x.json").read_text("utf-8"))


WRITING = ("write_json", "write_text")
TELLING = ("print", "print_table", "tell")
BY_THEMSELVES = ("summarise_a2c.py",)
"""Who does not leave it to `lab.report`: many runs, and no configuration of one."""


def calls_of(tree):
    """Line and name of every call of a plain function that is not one for stderr."""
    for node in ast.walk(tree):
        is_plain = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if is_plain and not any(word.arg == "file" for word in node.keywords):
            yield node.lineno, node.func.id


def test_no_script_prints_its_results_by_itself():
    """`lab.report` does, when all is written; all else that is said is for stderr."""
    for path in sorted(EXPERIMENTS.rglob("*.py")):
        name = path.relative_to(EXPERIMENTS).as_posix()
        if name in ("lab/report.py", *BY_THEMSELVES):
            continue
        tree = ast.parse(path.read_text("utf-8"))
        told = [line for line, called in calls_of(tree) if called in TELLING]
        assert not told, name


@pytest.mark.parametrize("name", BY_THEMSELVES)
def test_who_prints_by_itself_has_written_by_then(name):
    tree = ast.parse((EXPERIMENTS / name).read_text("utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    seen = 0
    for function in functions:
        wrote = [line for line, called in calls_of(function) if called in WRITING]
        told = [line for line, called in calls_of(function) if called in TELLING]
        if told:
            assert max(wrote) < min(told), function.name
            seen += 1
    assert seen


def test_a_terminal_without_letters_gets_a_table(report, tmp_path):
    with english_terminal() as printed:
        with plain_errors():
            report.write(options(), *said_by(report, tmp_path))
        said = printed()
    assert "1.0 +/- 0.1" in said
    assert "Delta" in said
    assert said.splitlines()[-1] == f"Written to {tmp_path}"


def test_files_are_utf_8_wherever_they_are_written():
    for path in EXPERIMENTS.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                named = [word.arg for word in node.keywords]
                if node.func.attr == "write_text":
                    assert "encoding" in named, path
                elif node.func.attr == "read_text":
                    assert node.args or "encoding" in named, path


# Small runs.

OVERRIDDEN = {
    "atari_a2c": "frames",
    "celeba": "epochs",
    "class_pairs": "per_class",
    "compare_rules": "turns",
    "dense_prediction": "train_size",
    "few_labels": "train_size",
    "meta_gradients": "sweep_tasks",
    "multi_domain": "batch_size",
    "noise_task": "hidden",
    "rl_aux": "epochs",
    "rotated_mnist": "seeds",
    "toy_quadratics": "long_steps",
}


def test_every_script_has_a_small_run():
    assert {*OVERRIDDEN, "summarise_a2c"} == set(SCRIPTS)


@pytest.mark.parametrize(("name", "field"), OVERRIDDEN.items())
def test_what_smoke_would_override_is_refused(
    name, field, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    script = load_script(name)
    assert field in script.SMOKE
    option = "--" + field.replace("_", "-")
    code, said = refused(script, ["--smoke", option, "12"], capsys)
    assert code == 2
    assert f"`{option}` should not stand beside `--smoke`, which sets it" in said
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", OVERRIDDEN)
def test_a_small_run_leaves_a_clean_clone_clean(name, smoke):
    """It works, and git sees nothing of it: all that it writes is in `runs/`."""
    done = smoke(name)
    assert done.code == 0, f"{done.code}\n{done.err}"
    assert done.status == ""
    assert "A smoke run: its numbers say nothing." in done.out
    assert done.folder.parent.name == "runs"
    assert done.folder.name.endswith("-smoke")
    ends = {path.suffix for path in done.folder.iterdir()}
    assert {".md", ".json", ".png"} <= ends


def test_a_summary_leaves_a_clean_clone_clean(smoke, tmp_path):
    game = tmp_path / "Breakout"
    shutil.copytree(smoke("atari_a2c").folder, game / "olaux")
    done = smoke("summarise_a2c", str(game))
    assert done.code == 0, f"{done.code}\n{done.err}"
    assert done.status == ""
    assert list(done.folder.glob("*.md"))


# One vocabulary.


@pytest.mark.parametrize("name", OVERRIDDEN)
def test_every_script_has_the_common_options(name):
    config = load_script(name).Config
    words = ["--out", "x", "--name", "y", "--resume", "--publish", "--quiet"]
    chosen = parse(config, args=words)
    assert (chosen.out, chosen.name) == (Path("x"), "y")
    assert chosen.resume
    assert chosen.publish
    assert chosen.quiet
    assert parse(config, args=["--smoke"], smoke={}).smoke
    assert not parse(config, args=[]).resume


@pytest.mark.parametrize("name", OVERRIDDEN)
def test_a_small_run_is_not_published(name, capsys):
    code, said = refused(load_script(name), ["--smoke", "--publish"], capsys)
    assert code == 2
    assert "`publish` should not be said with `smoke`" in said


METHODS = {
    **dict.fromkeys(OVERRIDDEN, ("single", "equal", "gcs")),
    "celeba": ("equal", "gcs"),  # `single` would be 40 networks
    "noise_task": ("single", "equal"),  # which has five methods of its own
    "rl_aux": ("single",),  # what labels, not what weighs
}
WITHOUT_METHODS = {"meta_gradients", "toy_quadratics"}


@pytest.mark.parametrize("name", sorted(OVERRIDDEN.keys() - WITHOUT_METHODS))
def test_a_method_has_one_name_everywhere(name):
    config = load_script(name).Config
    chosen = parse(config, args=["--method", *METHODS[name], "--seeds", "2"])
    assert chosen.method == METHODS[name]
    assert chosen.seeds == 2


def test_of_a_smoke_run_nothing_is_said(report, tmp_path, capsys):
    def judge():
        raise AssertionError("judged")

    given = said_by(report, tmp_path, verdicts=judge)
    assert report.write(options(smoke=True), *given) == []
    said = capsys.readouterr().out.splitlines()
    assert said[-2:] == [report.NOTHING, f"Written to {tmp_path}"]
    with pytest.raises(AssertionError, match="judged"):
        report.write(options(), *given)


# Folders.


@every_script
def test_nothing_is_written_beside_tracked_files(name):
    """By default into `runs/`, which git ignores; with `--resume` where it is long."""
    script = load_script(name)
    fields = script.Config.__dataclass_fields__
    assert Path(fields["out"].default).parts[0] == "runs"
    assert "runs/" in (ROOT / ".gitignore").read_text().split()
    assert ("resume" in fields) == (name != "summarise_a2c")


def wanted(out, **more):
    return SimpleNamespace(**({"out": out, "name": None, "smoke": False} | more))


def test_folders_are_the_next_free_ones(folders, tmp_path):
    found = [folders.choose_folder(wanted(tmp_path), "x").name for _ in range(3)]
    assert found == ["x", "x-2", "x-3"]  # made at once: nobody else is given it
    going_on = wanted(tmp_path, resume=True)
    assert folders.choose_folder(going_on, "x").name == "x-3"
    assert folders.choose_folder(going_on, "y").name == "y"
    named = wanted(tmp_path, name="mine")
    assert folders.choose_folder(named, "x") == tmp_path / "mine"
    home = wanted(Path("~/auxjax-runs"), name="x")
    assert folders.choose_folder(home, "x") == Path.home() / "auxjax-runs" / "x"


def test_a_smoke_run_has_a_folder_of_its_own(folders, tmp_path):
    for name in (None, "x"):
        config = wanted(tmp_path, name=name, smoke=True)
        assert folders.choose_folder(config, "x") == tmp_path / "x-smoke"


# Ctrl-C.


def test_ctrl_c_while_it_imports(start):
    with pytest.raises(SystemExit) as stopped, start.needs("plots"):
        raise KeyboardInterrupt
    assert stopped.value.code == 130
    with pytest.raises(SystemExit) as stopped, start.needs("plots"):
        raise ImportError("in C") from KeyboardInterrupt()
    assert stopped.value.code == 130
    with pytest.raises(ImportError, match="a mistake"), start.needs("plots"):
        raise ImportError("a mistake")


@pytest.mark.parametrize(
    ("sign", "said"),
    [("compiling", "Stopped"), ("/6k frames", "Stopped at step ")],
    ids=["while it compiles", "while it runs"],
)
def test_ctrl_c_leaves_no_traceback(tmp_path, sign, said):
    words = [
        *("--env", "Probe-Action", "--aux", "inverse", "--method", "olaux"),
        *("--num-envs", "2", "--rollout-length", "1", "--frames", "6000"),
        *("--chunk", "1", "--features", "8", "--hidden", "8", "--out", str(tmp_path)),
    ]
    running = subprocess.Popen(
        [sys.executable, "-u", str(EXPERIMENTS / "atari_a2c.py"), *words],
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        },
    )
    lines = []
    for line in running.stderr:
        lines.append(line)
        if sign in line:
            running.send_signal(signal.SIGINT)
            break
    lines += running.stderr.readlines()
    running.stderr.close()
    assert running.wait(timeout=300) == 130, "".join(lines)
    text = "".join(lines)
    assert "Traceback" not in text
    assert "Error" not in text
    assert said in text


def test_which_pairs_there_are_and_where_images_lie_may_change_on_resume():
    from lab.options import may_differ

    script = load_script("class_pairs")
    assert {"pairs", "near", "far", "folder", "data_dir"} <= {
        *may_differ(script.Config())
    }
