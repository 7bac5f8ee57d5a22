"""The README's figure shows the numbers that stand in `rules.json`."""

import json

import pytest
from PIL import Image

from tests._scripts import BENCHMARKS, load_script


@pytest.fixture
def price():
    return load_script("price", BENCHMARKS)


@pytest.fixture
def rows(price):
    return json.loads((price.RESULTS / "rules.json").read_text())["rows"]


def test_the_figure_is_of_the_present_numbers(price, rows):
    with Image.open(price.RESULTS / "price.png") as image:
        shown = image.info[price.KEY]
    assert shown == price.mark(rows), "`benchmarks/price.py --out benchmarks/results`"


def test_other_numbers_are_another_mark(price, rows, tmp_path):
    others = [{**row, "time ratio": row["time ratio"] + 0.01} for row in rows]
    assert price.mark(others) != price.mark(rows)
    price.draw(others, tmp_path / "price.png")
    with Image.open(tmp_path / "price.png") as image:
        assert image.info[price.KEY] == price.mark(others)


def test_every_line_is_in_the_numbers(price, rows):
    found = {(row["model"], row["rule"]) for row in rows}
    assert {(n, r) for n in price.NETWORKS for r in price.LINES} <= found


@pytest.mark.parametrize("options", [[], ["--out", "elsewhere"]])
def test_what_is_committed_stays_as_it_is(price, monkeypatch, tmp_path, options):
    before = (price.RESULTS / "price.png").stat().st_mtime_ns
    monkeypatch.chdir(tmp_path)
    price.main(options)
    folder = tmp_path / (options[-1] if options else price.OUT)
    assert [path.name for path in folder.iterdir()] == ["price.png"]
    assert (price.RESULTS / "price.png").stat().st_mtime_ns == before


@pytest.mark.parametrize("page", ["README.md", "docs/gallery.md"])
def test_the_pages_say_the_present_numbers(price, rows, page):
    numbers = json.loads((price.RESULTS / "rules.json").read_text())
    text = " ".join((price.RESULTS.parents[1] / page).read_text().split())
    ours = [r["time ratio"] for r in rows if r["rule"] == "olaux(n=5)"]
    stacked = [
        r["time ratio"]
        for r in rows
        if (r["rule"], r["tasks"]) == ("olaux(n=5), stacked", 40)
    ]
    assert f"{min(ours):.1f} to {max(ours):.1f} times as long as equal weigh" in text
    assert "{:.0f} and {:.0f} times with 40".format(*stacked) in text
    assert f"commit {numbers['machine']['commit']}" in text
