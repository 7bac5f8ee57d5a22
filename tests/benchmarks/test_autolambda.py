import json

import pytest

from tests._scripts import BENCHMARKS, load_script


@pytest.fixture
def bench():
    return load_script("autolambda", BENCHMARKS)


def test_smoke_run_writes_table_numbers_and_figure(bench, tmp_path):
    bench.main(["--smoke", "--models", "cnn", "--out", str(tmp_path)])
    found = json.loads((tmp_path / "autolambda.json").read_text())
    flops = {row["rule"]: row["flops ratio"] for row in found["rows"]}
    assert flops[bench.REUSED] < flops[bench.EXACT] < flops[bench.DIFFERENCE]
    assert 2 < flops[bench.EXACT] < 5
    assert "## cnn: memory ratio" in (tmp_path / "autolambda.md").read_text()
    assert (tmp_path / "autolambda.png").stat().st_size > 5_000


def test_a_broken_promise_is_named(bench):
    def row(rule, tasks, time, memory=1.0):
        ratios = {"time ratio": time, "memory ratio": memory}
        return {"rule": rule, "model": "mlp", "tasks": tasks, **ratios}

    kept = [
        row(bench.EXACT, 2, 3.3, 9.0),  # memory is promised at the largest T only
        row(bench.DIFFERENCE, 2, 3.3),
        row(bench.EXACT, 40, 3.0, 4.0),
        row(bench.REUSED, 40, 2.8),
        row(bench.DIFFERENCE, 40, 9.0, 9.0),  # nothing is promised of it
    ]
    assert bench.broken_promises(kept) == []
    broken = bench.broken_promises(
        [
            row(bench.EXACT, 40, 3.2, 4.1),
            row(bench.REUSED, 40, 2.9),
            row(bench.DIFFERENCE, 40, 1.6),
        ]
    )
    assert broken == [
        "exact on mlp with 40 tasks: 4.10 times the memory",
        "exact on mlp with 40 tasks: 2.00 times finite difference",
        "exact, reused lookahead on mlp with 40 tasks: 2.90 times the time",
    ]
