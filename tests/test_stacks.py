"""The environments that `make test-minimum` and `make test-newest` make."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
spec = importlib.util.spec_from_file_location("stacks", ROOT / "tests" / "stacks.py")
stacks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(stacks)


def test_every_requirement_has_one_lower_bound():
    project = stacks.project()
    for extra in project["optional-dependencies"]:
        assert set(stacks.requirements(project, extra)) >= {"jax", "optax", "chex"}
    everything = stacks.requirements(project, "test")
    assert {"gymnax", "tyro", "equinox", "mkdocs", "jaxtyping"} <= set(everything)
    core = stacks.requirements(project, "test-core")
    assert "pytest" in core
    assert "gymnax" not in core  # it holds JAX back


@pytest.mark.parametrize("text", ["rich", "rich<9", "rich>=1,<2", "jax>=0.9"])
def test_a_requirement_without_one_is_refused(text):
    project = {"name": "auxjax", "dependencies": ["jax>=0.10"]}
    project["optional-dependencies"] = {"a": [text]}
    with pytest.raises(ValueError, match=r"one lower bound.*Found `"):
        stacks.requirements(project, "a")


def test_pythons_at_hand_are_new_enough_and_run():
    found = [stacks.version_of(python) for python in stacks.pythons_at_hand()]
    assert sys.version_info[:3] in found
    assert found == sorted(set(found))
    assert found[0] >= (3, 11)
    assert stacks.version_of("false") == ()


@pytest.fixture
def pip(monkeypatch):
    """What would have been installed: (Python, extra, constraints)."""
    asked = []

    def make(python, folder, extra, bounds):
        asked.append((python, extra, tuple(bounds)))
        if python == "too new":
            raise subprocess.CalledProcessError(1, "pip")
        return f"{python} in {folder}"

    monkeypatch.setattr(stacks, "make_environment", make)
    monkeypatch.setattr(stacks, "pythons_at_hand", lambda: ["old", "new", "too new"])
    return asked


def test_the_oldest_is_exactly_the_bounds(pip):
    assert stacks.oldest("here", "test-core") == "old in here"
    ((_, _, bounds),) = pip
    found = stacks.requirements(stacks.project(), "test-core")
    assert dict(bound.split("==") for bound in bounds) == found


def test_the_newest_is_not_bounded(pip):
    assert stacks.newest("here", "test") == "new in here"
    assert pip == [("too new", "test", ()), ("new", "test", ())]


@pytest.mark.parametrize(
    ("newest", "oldest", "expected"),
    [("2", "0", "new in here"), ("1", "0", "old in here"), ("1", "1", None)],
)
def test_another_jax_than_that_one(pip, monkeypatch, newest, oldest, expected):
    jax = {"this": "1", "new in here": newest, "old in here": oldest}
    monkeypatch.setattr(
        stacks, "packages", lambda python, names: f"· jax {jax[python]}"
    )
    assert stacks.another("here", "test-core", "this") == expected


def test_versions_are_said():
    import jax

    said = stacks.packages(sys.executable, ["jax"])
    assert said == f"Python {sys.version.split()[0]} · jax {jax.__version__}"


def test_the_cores_tests_are_there():
    assert all((ROOT / path).exists() for path in stacks.CORE)


def test_the_page_says_what_pyproject_says():
    page = (ROOT / "docs" / "tested.md").read_text()
    lows = stacks.requirements(stacks.project(), "test")
    for name in ("flax", "equinox", "dm-haiku"):
        assert f"{name} {lows[name]}" in page
    row = page.split("| minimum |")[1].split("\n")[0]
    assert f"| {lows['jax']}.0 | {lows['flax']} |" in row
    assert all(Path(x).name in page for x in stacks.CORE)
