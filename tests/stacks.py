"""Runs the tests on the oldest packages or the newest, in an environment of its own.

    python tests/stacks.py minimum        # every package exactly at its lower bound
    python tests/stacks.py newest         # the newest Python at hand, newest packages
    python tests/stacks.py newest --core  # of the core alone: nothing holds JAX back
    python tests/stacks.py another --unlike .venv/bin/python  # --core, on another JAX
    python tests/stacks.py minimum tests/run -x               # the rest is pytest's

The lower bounds are those of `pyproject.toml`. Each prints the versions that it tests.
Needs Python 3.11 alone; the environment is made in a temporary folder.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CORE = (
    *("tests/jacobian", "tests/meta", "tests/aggregation", "tests/weighting"),
    *("tests/test_contract.py", "tests/test_around_rules.py"),
)
"""The tests of what `import auxjax` brings: they need the extra `test-core` alone."""

SAYS_VERSION = """
import ensurepip, sys, venv
if sys.version_info.releaselevel == "final":
    print(*sys.version_info[:3])
"""
SAYS_PACKAGES = """
import sys
from importlib.metadata import version
print("Python", sys.version.split()[0], *(f"· {x} {version(x)}" for x in sys.argv[1:]))
"""


def requirements(project: dict, extra: str) -> dict[str, str]:
    """Package -> lower bound, of the project itself and of one of its extras.

    Args:
      project: the table `project` of `pyproject.toml`.
      extra: extras that it names of this project are followed.

    Raises:
      ValueError: a requirement has no lower bound, or two that differ.

    Example:
      >>> project = {"name": "x", "dependencies": ["jax>=0.10"]}
      >>> extras = {"a": ["x[b]", "rich>=13"], "b": ["six>=1"]}
      >>> project["optional-dependencies"] = extras
      >>> requirements(project, "a")
      {'jax': '0.10', 'six': '1', 'rich': '13'}
    """
    found: dict[str, str] = {}
    for text in [*project["dependencies"], *_of_extra(project, extra)]:
        parts = re.fullmatch(r"([\w.-]+)(?:\[.*\])?>=([\w.]+)", text)
        if parts is None or found.setdefault(parts[1], parts[2]) != parts[2]:
            raise ValueError(
                "A requirement should have one lower bound, as in `rich>=13`. "
                f"Found `{text}`."
            )
    return found


def _of_extra(project: dict, extra: str) -> Iterator[str]:
    for text in project["optional-dependencies"][extra]:
        if own := re.fullmatch(rf"{project['name']}\[(.*)\]", text):
            for name in own[1].split(","):
                yield from _of_extra(project, name.strip())
        else:
            yield text


def pythons_at_hand() -> list[str]:
    """Pythons that can make an environment, oldest first; one a version.

    The one that runs this, `python3`, `python3.11`, … of the path, and pyenv's.
    """
    candidates = [sys.executable, shutil.which("python3")]
    candidates += [shutil.which(f"python3.{minor}") for minor in range(11, 40)]
    if shutil.which("pyenv"):
        root = subprocess.run(["pyenv", "root"], capture_output=True, text=True)
        if root.returncode == 0:
            versions = Path(root.stdout.strip(), "versions")
            candidates += map(str, versions.glob("*/bin/python"))
    found = {}
    for path in filter(None, candidates):
        if version := version_of(path):
            found.setdefault(version, path)
    lowest = project()["requires-python"].removeprefix(">=").split(".")
    wanted = [v for v in sorted(found) if v[:2] >= tuple(map(int, lowest))]
    return [found[version] for version in wanted]


def version_of(python: str) -> tuple[int, ...]:
    """`(3, 13, 0)`; empty where it does not run, is a prerelease or has no venv."""
    done = subprocess.run([python, "-c", SAYS_VERSION], capture_output=True, text=True)
    return tuple(map(int, done.stdout.split())) if done.returncode == 0 else ()


def project() -> dict:
    """The table `project` of `pyproject.toml`."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def make_environment(
    python: str, folder: Path, extra: str, bounds: Iterable[str]
) -> str:
    """A fresh environment with this project and an extra.

    Args:
      python: what makes it.
      folder: where; what was there goes.
      extra: of this project.
      bounds: constraints for pip, `name==version`.

    Returns:
      The environment's Python.

    Raises:
      subprocess.CalledProcessError: it cannot be installed.
    """
    subprocess.run([python, "-m", "venv", "--clear", str(folder)], check=True)
    own, constraints = str(folder / "bin" / "python"), folder / "constraints.txt"
    constraints.write_text("\n".join(bounds))
    pip = [own, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "--upgrade", "pip"], check=True)
    project_there = ["--constraint", str(constraints), "--editable", f"{ROOT}[{extra}]"]
    subprocess.run([*pip, *project_there], check=True)
    return own


def oldest(folder: Path, extra: str) -> str:
    """The oldest Python at hand, each package at its lower bound."""
    bounds = [f"{name}=={low}" for name, low in requirements(project(), extra).items()]
    return make_environment(pythons_at_hand()[0], folder, extra, bounds)


def newest(folder: Path, extra: str) -> str:
    """The newest Python at hand that everything can be installed on."""
    *others, last = pythons_at_hand()[::-1]
    for python in others:
        try:
            return make_environment(python, folder, extra, [])
        except subprocess.CalledProcessError:
            print(f"{python} does not take this; trying an older one.", flush=True)
    return make_environment(last, folder, extra, [])


def another(folder: Path, extra: str, unlike: str) -> str | None:
    """The newest, or the oldest where that has the same JAX as `unlike`; or None."""
    taken = packages(unlike, ["jax"]).split()[-1]
    for make in (newest, oldest):
        python = make(folder, extra)
        if packages(python, ["jax"]).split()[-1] != taken:
            return python
    return None


def packages(python: str, names: Iterable[str]) -> str:
    """One line: Python and these packages with their versions."""
    command = [python, "-c", SAYS_PACKAGES, *names]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stack", choices=("minimum", "newest", "another"))
    parser.add_argument("--core", action="store_true", help="the core and its tests")
    parser.add_argument("--unlike", metavar="PYTHON", help="whose JAX not to test")
    options, rest = parser.parse_known_args()
    if (options.stack == "another") != bool(options.unlike):
        parser.error("`another` and `--unlike` go together")
    core = options.core or options.stack == "another"
    extra = "test-core" if core else "test"
    if extra == "test" and options.stack == "minimum":
        extra, rest = "test-minimum", [*rest, "--ignore=tests/frameworks"]
    with tempfile.TemporaryDirectory() as folder:
        venv = Path(folder, "venv")
        print(f"Making the environment: {options.stack}, auxjax[{extra}].", flush=True)
        if options.stack == "another":
            python = another(venv, extra, options.unlike)
        else:
            python = (oldest if options.stack == "minimum" else newest)(venv, extra)
        if python is None:
            print("Only one version of JAX can be had here: no second one was tested.")
            return 0
        print(packages(python, requirements(project(), extra)), flush=True)
        names_tests = any(Path(ROOT, x.partition("::")[0]).exists() for x in rest)
        tests = [*rest, *(CORE if core and not names_tests else ())]
        return subprocess.run(
            [python, "-m", "pytest", "-n", "auto", *tests], cwd=ROOT
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
