import json

import jax
import pytest

from tests._scripts import BENCHMARKS, load_script


@pytest.fixture
def bench():
    return load_script("seeds", BENCHMARKS)


def test_smoke_run_writes_table_and_numbers(bench, tmp_path):
    bench.main(["--smoke", "--out", str(tmp_path)])
    rows = json.loads((tmp_path / "seeds.json").read_text())["rows"]
    assert [(row["what"], row["size"]) for row in rows] == [
        ("program", "paper"),
        ("program", "small"),
    ]
    assert "| program | small |" in (tmp_path / "seeds.md").read_text()


def test_medians_are_of_the_ratios_within_a_turn(bench):
    found = bench.row("program", "paper", [(1.0, 5.0), (1.0, 3.0), (2.0, 8.0)])
    assert found["ratio"] == "4.00"
    assert found["together, s"] == "1.00"


def test_both_programs_train(bench):
    config = bench.Config(seeds=2, epochs=1, smoke=True)
    together, after_another = bench.programs(config, "small")
    assert int(jax.tree.leaves(together()[0].step)[0][0]) == 200 // 16
    after_another()
