"""The site builds as it stands, and making it again changes no file that git knows."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def clone(tmp_path):
    """What the documentation is made from, as a clean copy."""
    unwanted = shutil.ignore_patterns("__pycache__")
    for name in ("docs", "auxjax"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=unwanted)
    for room in ("experiments", "benchmarks"):
        for path in [
            *ROOT.glob(f"{room}/**/README.md"),
            *ROOT.glob(f"{room}/**/*.png"),
        ]:
            place = tmp_path / path.relative_to(ROOT)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    return tmp_path


def make_docs(clone, *options):
    """`make docs`, without bytecode files, which git ignores."""
    return subprocess.run(
        [sys.executable, "-B", "docs/make.py", *options],
        cwd=clone,
        env={**os.environ, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
    )


def contents(clone):
    """Every file but those of the site, which git ignores."""
    files = (path for path in clone.rglob("*") if path.is_file())
    return {
        path.relative_to(clone).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in files
        if "site" not in path.relative_to(clone).parts
    }


def test_the_site_is_made_and_no_file_changes(clone):
    before = contents(clone)
    done = make_docs(clone)
    assert done.returncode == 0, done.stdout + done.stderr
    after = contents(clone)
    assert [name for name in after if after[name] != before.get(name)] == []
    assert after.keys() == before.keys()
    pages = {path.relative_to(clone / "docs") for path in clone.glob("docs/**/*.md")}
    made = {x.relative_to(clone / "site") for x in clone.glob("site/**/*.html")}
    assert {path.with_suffix(".html") for path in pages} <= made
    assert {Path("api/run.html"), Path("experiments/index.html")} <= made
    assert pictures_that_are_not_there(clone / "site") == []


def pictures_that_are_not_there(site):
    """What pages show, against what lies there."""
    shown = [
        page.parent / source
        for page in site.rglob("*.html")
        for source in re.findall(r"<img[^>]* src=\"([^\"]+)\"", page.read_text())
    ]
    assert len({path.resolve() for path in shown}) > 40
    return [path for path in shown if not path.exists()]


def test_links_that_lead_nowhere_and_pages_that_nothing_leads_to_end_the_build(clone):
    links = ["../experiments/nowhere.md", "nowhere.md", "toy.md#nothing"]
    with (clone / "docs" / "labelling.md").open("a") as page:
        page.writelines(f"\n[a]({link})\n" for link in links)
    (clone / "docs" / "lost.md").write_text("# Lost\n")
    done = make_docs(clone, "--no-figures")
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert [x for x in [*links, "labelling.md", "lost.md"] if x not in said] == []


@pytest.fixture
def docs(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")


def test_a_figure_is_the_same_bytes_each_time_and_is_left_alone(docs, tmp_path):
    from _figures import picture, write
    from _recipe import recipe_of

    axis, line = np.linspace(-11, 11, 9), np.linspace((-7, 1), (7, 30), 5)
    background = axis, np.add.outer(axis, axis), line, line
    ways = np.linspace((-9, -8), (6, 7), 12, dtype=np.float32)[None]
    first, second = (picture(ways, background, "a mark") for _ in range(2))
    assert first == second
    other = picture(ways + 1, background, "a mark")
    assert other != first
    write(first, path := tmp_path / "it.png")
    assert recipe_of(path) == "a mark"
    os.utime(path, ns=(1, 1))
    write(second, path)
    assert path.stat().st_mtime_ns == 1
    write(other, path)
    assert path.read_bytes() == other
    assert recipe_of(tmp_path / "nothing.png") is None


def test_a_figure_of_another_call_is_drawn_again(docs, monkeypatch):
    import _pages
    import make

    drawn = []
    monkeypatch.setitem(sys.modules, "_figures", type(sys)("_figures"))
    sys.modules["_figures"].draw = lambda rules, _: drawn.extend(r.name for r in rules)
    make.draw_figures(None)
    assert drawn == []
    changed = [
        rule._replace(call="auxjax.olaux(n=99)") if rule.name == "olaux" else rule
        for rule in _pages.RULES
    ]
    monkeypatch.setattr(_pages, "RULES", tuple(changed))
    assert _pages.FIGURES["olaux"] in _pages.stale()
    make.draw_figures(None)
    assert drawn == ["olaux"]
    make.draw_figures(["gcs", "olaux"])
    assert sorted(drawn) == ["gcs", "olaux", "olaux"]
    with pytest.raises(SystemExit, match=r"No rule of that name: nonsense\."):
        make.draw_figures(["nonsense"])
