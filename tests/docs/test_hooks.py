"""What stands outside of docs/ is in the site, and its links lead where they should."""

from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def hooks(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    import _hooks

    return _hooks


def rewritten(hooks, markdown, place, known):
    """The text of a page at `place`, where `known` files are in the site."""
    page = SimpleNamespace(file=SimpleNamespace(src_uri=place))
    files = SimpleNamespace(get_file_from_path=lambda x: x if x in known else None)
    return hooks.on_page_markdown(markdown, page=page, config=None, files=files)


@pytest.mark.parametrize(
    ("place", "before", "after"),
    [
        ("gallery.md", "![a](../experiments/x/b.png)", "![a](experiments/x/b.png)"),
        ("gallery.md", "[a](../experiments/x)", "[a](experiments/x/README.md)"),
        ("gallery.md", "[a](../experiments/a2c)", "a"),  # a folder without README
        ("gallery.md", "[a](toy.md#b)", "[a](toy.md#b)"),
        ("gallery.md", "[a](../nowhere.md)", "[a](../nowhere.md)"),  # the build says so
        ("gallery.md", "[a](https://b.c/d) [e](#f)", "[a](https://b.c/d) [e](#f)"),
        ("rules/r.md", "[a](../toy.md)", "[a](../toy.md)"),
        ("experiments/x/README.md", "![a](b.png)", "![a](b.png)"),
        ("experiments/x/README.md", "[a](../../docs/toy.md)", "[a](../../toy.md)"),
        ("experiments/x/README.md", "[`t`](t.md), [s](../s.py)", "`t`, s"),
    ],
)
def test_links(hooks, place, before, after):
    known = {"toy.md", "experiments/x/README.md", "experiments/x/b.png"}
    assert rewritten(hooks, before, place, known) == after


def test_what_is_added_lies_there(hooks):
    places = [*hooks.readmes(), *hooks.figures()]
    assert {"benchmarks/README.md", "benchmarks/results/price.png"} <= set(places)
    assert [place for place in places if not (ROOT / place).exists()] == []
