"""Every example in the docstrings of `experiments/`, `benchmarks/` and `docs/` runs.

Those of `auxjax` are collected by pytest itself. These folders are no packages, and
some scripts bear the name of a room, so each file is loaded as its readers load it.
"""

import doctest
import importlib
import re

import pytest

from tests._scripts import BENCHMARKS, EXPERIMENTS, ROOT, load_script

EXAMPLE = re.compile(r"^ *>>> ", re.MULTILINE)
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
FILES = [
    path
    for folder in (EXPERIMENTS, BENCHMARKS, ROOT / "docs")
    for path in sorted(folder.rglob("*.py"))
    if EXAMPLE.search(path.read_text("utf-8"))
]


def load(path):
    """A room's file by its dotted name, a script by its path."""
    if path.parent.parent == EXPERIMENTS:
        return importlib.import_module(f"{path.parent.name}.{path.stem}")
    return load_script(path.stem, path.parent)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_examples_run(path):
    found = doctest.testmod(load(path), optionflags=FLAGS)
    assert found.failed == 0
    assert found.attempted > 0


def test_there_are_some():
    assert len(FILES) > 10
