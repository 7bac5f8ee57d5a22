"""What the tests of the experiments share: scripts, quick compilation, small runs."""

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import pytest

from tests._scripts import EXPERIMENTS, ROOT


@pytest.fixture(scope="session")
def experiments():
    """The folder of the scripts, which are modules while the tests run."""
    sys.path.insert(0, str(EXPERIMENTS))
    yield EXPERIMENTS
    sys.path.remove(str(EXPERIMENTS))


@pytest.fixture(scope="module")
def quick_compilation():
    """Tiny programs run a few times: compiling them is what takes the time."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


class SmokeRun(NamedTuple):
    """What a script's `--smoke` did in a clean clone of the repository."""

    code: int
    out: str
    err: str
    status: str  # what git says of the clone afterwards
    folder: Path  # where it says that its results are


@pytest.fixture(scope="session")
def smoke(tmp_path_factory):
    """`smoke(name)` -> `SmokeRun`: once a session, in all processes of the tests."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    with locked(base / "clone.lock"):
        if not (base / "clone").exists():
            clone(base / "clone")
    running = start_runs(base / "clone")

    def run(name, *words):
        kept = base / f"smoke-{name}.json"
        with locked(base / f"smoke-{name}.lock"):
            if not kept.exists():
                line = json.dumps([str(kept), name, words or ("--smoke", "--quiet")])
                print(line, file=running.stdin, flush=True)
                assert running.stdout.readline() == "done\n"
        done = json.loads(kept.read_text("utf-8"))
        where = done["out"].rpartition("Written to ")[2].strip()
        return SmokeRun(**done, folder=base / "clone" / where)

    yield run
    running.stdin.close()
    running.stdout.close()
    running.wait()


@contextlib.contextmanager
def locked(path):
    """One process at a time."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def git(folder, *words):
    """What git prints."""
    quiet = ("-c", "user.name=x", "-c", "user.email=x", "-c", "commit.gpgsign=false")
    quiet += ("-c", "core.hooksPath=/dev/null", "-c", "safe.directory=*")
    done = subprocess.run(
        ["git", *quiet, *words], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout


def clone(folder):
    """The repository as it lies here, what is not committed included; all committed."""
    part = folder.with_suffix(".part")
    part.mkdir()
    names = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, part / name)
    git(part, "init", "--quiet")
    git(part, "add", "--all")
    git(part, "commit", "--quiet", "--message", "As it lies here")
    part.rename(folder)


def start_runs(folder):
    """The process that runs scripts there, by the clone's own library, strictly."""
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("smoke_runs.py"))],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ
        | {
            "PYTHONPATH": str(folder),
            "XDG_CACHE_HOME": str(folder.parent / "cache"),
            "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
            "JAX_NUMPY_RANK_PROMOTION": "raise",
            "JAX_NUMPY_DTYPE_PROMOTION": "strict",
        },
    )
