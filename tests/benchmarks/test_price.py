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
        assert image.info[price.KEY] == price.mark(rows), "run `benchmarks/price.py`"


def test_other_numbers_are_another_mark(price, rows, tmp_path):
    others = [{**row, "time ratio": row["time ratio"] + 0.01} for row in rows]
    assert price.mark(others) != price.mark(rows)
    price.draw(others, tmp_path / "price.png")
    with Image.open(tmp_path / "price.png") as image:
        assert image.info[price.KEY] == price.mark(others)


def test_every_line_is_in_the_numbers(price, rows):
    found = {(row["model"], row["rule"]) for row in rows}
    assert {(n, r) for n in price.NETWORKS for r in price.LINES} <= found
