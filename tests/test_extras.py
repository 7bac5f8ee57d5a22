"""What is missing is asked for in one wording, by an extra that brings it."""

import ast
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from auxjax._extras import absent, extra, require
from tests.stacks import project, requirements

ROOT = Path(__file__).parents[1]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
    "optional-dependencies"
]


def asked_for():
    """The extras that calls of `extra`, `require` and `absent` name, file by file."""
    place = {"extra": 0, "require": 1, "absent": 1}
    for path in sorted((ROOT / "auxjax").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            name = getattr(getattr(node, "func", None), "id", None)
            if name in place and path.stem != "_extras":
                yield path, ast.literal_eval(node.args[place[name]])


def test_every_extra_that_is_asked_for_exists():
    found = list(asked_for())
    wanted = {"run", "rl", "brax", "vision", "data", "plots"}
    assert wanted == {name for _, name in found}
    assert {name for _, name in found} <= set(EXTRAS)
    assert len(found) > 10


def imports_behind():
    """`(file, extra, module)` of what `extra` and `require` stand around."""
    for path in sorted((ROOT / "auxjax").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.With):
                call = node.items[0].context_expr
                if getattr(getattr(call, "func", None), "id", None) == "extra":
                    for part in (x for line in node.body for x in ast.walk(line)):
                        if isinstance(part, ast.Import):
                            for alias in part.names:
                                yield path.name, call.args[0].value, alias.name
                        elif isinstance(part, ast.ImportFrom):
                            yield path.name, call.args[0].value, part.module
            elif getattr(getattr(node, "func", None), "id", None) == "require":
                yield path.name, node.args[1].value, ast.literal_eval(node.args[0])


def test_an_extra_brings_what_it_is_named_for():
    """So that nobody who reads pictures is told to install games."""
    dists, found = packages_distributions(), []
    for path, name, module in imports_behind():
        wanted = {x.replace("_", "-").lower() for x in requirements(project(), name)}
        brought = {x.replace("_", "-").lower() for x in dists[module.split(".")[0]]}
        assert wanted & brought, (path, name, module)
        found.append(name)
    assert len(found) > 10
    assert set(found) == {"run", "rl", "brax", "vision", "data", "plots"}


def test_long_runs_are_an_extra_of_their_own():
    run = set(requirements(project(), "run")) - {"jax", "optax", "chex"}
    assert run == {"orbax-checkpoint", "rich", "tyro"}
    for name in ("rl", "vision"):
        assert run < set(requirements(project(), name))
    asked = {name for path, name in asked_for() if path.parent.name == "run"}
    assert asked == {"run", "plots"}


def test_nobody_words_it_again():
    said = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "auxjax").rglob("*.py")
        if "pip install" in path.read_text()
    }
    assert said == {"auxjax/_extras.py"}


def test_the_wording():
    with pytest.raises(ModuleNotFoundError) as error:
        require("a_package_nobody_has.inner", "rl", "`it`")
    assert str(error.value) == (
        "`it` needs `a_package_nobody_has`, which is not installed. "
        'Install it with: pip install "auxjax[rl]"'
    )
    assert error.value.name == "a_package_nobody_has"
    assert require("json.decoder", "rl", "`it`").JSONDecoder
    assert "`pandas`, which" in str(absent(ImportError("pandas"), "data", "`it`"))


def test_other_errors_of_an_import_are_left_alone():
    with pytest.raises(ImportError, match=r"^libGL is broken$"), extra("rl", "`it`"):
        raise ImportError("libGL is broken")
