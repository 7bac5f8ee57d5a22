"""The version stands in one place, and the changelog is in its format."""

import re
import tomllib
from pathlib import Path

import pytest

import auxjax

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()


def test_the_version_stands_in_one_place():
    assert "version" not in PROJECT["project"]
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert PROJECT["tool"]["hatch"]["version"]["path"] == "auxjax/__init__.py"
    assert re.fullmatch(r"\d+\.\d+\.\d+", auxjax.__version__)


def test_the_changelog_begins_with_what_is_unreleased_and_knows_this_version():
    headings = re.findall(r"^## (.*)$", CHANGELOG, re.M)
    assert headings[0] == "[Unreleased]"
    released = [
        re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - \d{4}-\d{2}-\d{2}", heading)
        for heading in headings[1:]
    ]
    assert all(released)
    assert released[0][1] == auxjax.__version__


@pytest.mark.parametrize("part", CHANGELOG.split("\n## ")[1:], ids=lambda x: x[:9])
def test_every_version_has_the_sections_of_the_format(part):
    known = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
    sections = re.findall(r"^### (.*)$", part, re.M)
    assert set(sections) <= set(known)
    assert len(sections) == len(set(sections))
    assert re.findall(r"^- ", part, re.M) == [] or sections


def test_what_is_built_and_checked_is_built_and_checked_in_ci():
    """`make dist` builds with the backend that the project asks for."""
    (backend,) = PROJECT["build-system"]["requires"]
    extra = PROJECT["project"]["optional-dependencies"]["dist"]
    assert backend in extra
    assert {re.match(r"\w+", name)[0] for name in extra} == {
        *("build", "hatchling", "twine"),
    }
    ci = (ROOT / ".ci" / "run").read_text()
    assert "\nmake dist " in ci
    assert ci.index("make dist") < ci.index("make test ")
