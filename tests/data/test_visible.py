"""What operating systems leave in folders is nobody's data."""

import pytest

from auxjax.data._visible import counts, visible, visible_below


@pytest.mark.parametrize(
    "name",
    [
        *("__MACOSX", ".DS_Store", "._0.png", ".Trashes", "Icon\r"),
        *("Thumbs.db", "THUMBS.DB", "desktop.ini", "Desktop.ini", "$RECYCLE.BIN"),
        *(".ipynb_checkpoints", ".git", "lost+found", "System Volume Information"),
    ],
)
def test_what_does_not_count(name):
    assert not counts(name)


@pytest.mark.parametrize("name", ["n01440764", "0.png", "thumbs", "macosx", "x.db"])
def test_what_counts(name):
    assert counts(name)


def test_a_folder_and_all_below_it(tmp_path, litter):
    for name in ("b/c/x.json", "a/x.json", "x.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "a" / "folder" / "x.json").mkdir(parents=True)
    litter(tmp_path, "x.json")
    assert [path.name for path in visible(tmp_path)] == ["a", "b", "x.json"]
    found = [str(p.relative_to(tmp_path)) for p in visible_below(tmp_path, "x.json")]
    assert found == ["a/x.json", "b/c/x.json", "x.json"]
