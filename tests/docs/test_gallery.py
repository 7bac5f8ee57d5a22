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


def test_every_experiment_is_shown():
    for room in (ROOT / "experiments").glob("*/results"):
        assert f"(../experiments/{room.parent.name}/results/" in TEXT, room.parent.name


def test_what_is_shown_is_there():
    shown = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", TEXT)
    assert len(shown) > 40
    assert [x for x in shown if not (PAGE.parent / x).exists()] == []
