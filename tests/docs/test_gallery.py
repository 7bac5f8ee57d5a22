"""The gallery shows every rule and every experiment."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "gallery.md"
TEXT = PAGE.read_text()


def test_every_rule_is_shown_and_leads_to_its_page():
    for page in (ROOT / "docs" / "rules").glob("*.md"):
        name = page.stem
        assert f"(rules/{name}.png)](rules/{name}.md)<br>" in TEXT, name


def test_a_new_rule_comes_into_its_table_and_nothing_else_changes(monkeypatch):
    monkeypatch.syspath_prepend(PAGE.parent)
    import _pages

    assert _pages._gallery() == TEXT
    new = _pages.AGGREGATORS[0]._replace(name="new_rule", title="New")
    monkeypatch.setattr(_pages, "AGGREGATORS", (*_pages.AGGREGATORS, new))
    cell = "[![New](rules/new_rule.png)](rules/new_rule.md)<br>New |"
    text = _pages._gallery()
    assert text.split("\n## Aggregators\n")[1].count(cell) == 1
    assert text.split("\n## Aggregators\n")[0] in TEXT
    assert text.split("\n## Experiments\n")[1] in TEXT


def test_every_experiment_is_shown():
    for room in (ROOT / "experiments").glob("*/results"):
        assert f"(../experiments/{room.parent.name}/results/" in TEXT, room.parent.name


def test_what_is_shown_is_there():
    shown = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", TEXT)
    assert len(shown) > 40
    assert [x for x in shown if not (PAGE.parent / x).exists()] == []
