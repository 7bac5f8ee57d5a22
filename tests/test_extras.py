"""What is missing is asked for in one wording, by an extra that brings it."""

import ast
import tomllib
from pathlib import Path

import pytest

from auxjax._extras import absent, extra, require

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
    assert {"rl", "brax", "vision", "data", "plots"} == {name for _, name in found}
    assert {name for _, name in found} <= set(EXTRAS)
    assert len(found) > 10


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
