import json

import chex
import numpy as np
import pytest

from tests._scripts import BENCHMARKS, load_script


@pytest.fixture
def bench():
    return load_script("rules", BENCHMARKS)


def test_smoke_run_writes_table_numbers_and_figure(bench, tmp_path):
    bench.main(["--smoke", "--models", "mlp", "--out", str(tmp_path)])
    found = json.loads((tmp_path / "rules.json").read_text())
    rows = {(row["tasks"], row["rule"]): row for row in found["rows"]}
    assert len(rows) == 8
    assert found["command"].startswith("python benchmarks/rules.py --smoke")
    assert found["machine"]["cores"] >= 1
    assert rows[3, bench.BASELINE]["time ratio"] == 1.0
    assert rows[3, "sum_tasks()"]["flops ratio"] == pytest.approx(1, abs=0.1)
    assert 1.2 < rows[3, "olaux(n=5)"]["flops ratio"] < 3.5
    text = (tmp_path / "rules.md").read_text()
    assert "## mlp: time ratio" in text
    assert "| olaux(n=5), stacked |" in text
    assert (tmp_path / "rules.png").stat().st_size > 5_000


def test_every_step_makes_the_same_first_update(bench):
    """Where weights are 1 all rules are equal weighting; so is the hand-written one."""
    from _rules_models import SMALL, make_model

    params, batch, losses = make_model("cnn", 2, SMALL)
    steps = bench.make_steps(losses, params, 2)
    names = (bench.BASELINE, "sum_tasks()", "olaux(n=5)", "olaux(n=5), stacked")
    moved = {}
    for name in names:
        state, step = steps[name]
        moved[name] = step(params, state, batch)[0]
    for name in names[1:]:
        chex.assert_trees_all_close(moved[name], moved[names[0]], rtol=1e-5, atol=1e-7)


def test_patches_see_a_stride_of_two(bench):
    from _rules_models import patches

    images = np.arange(16.0, dtype=np.float32).reshape(1, 4, 4, 1)
    found = patches(images)
    assert found.shape == (1, 2, 2, 9)
    assert found[0, 0, 0].tolist() == [0, 1, 2, 4, 5, 6, 8, 9, 10]
    assert found[0, 1, 1].tolist() == [10, 11, 0, 14, 15, 0, 0, 0, 0]


def test_a_broken_promise_is_named(bench):
    def row(rule, tasks, time, memory):
        ratios = {"time ratio": time, "memory ratio": memory}
        return {"rule": rule, "model": "mlp", "tasks": tasks, **ratios}

    kept = [
        row("olaux(n=5)", 2, 2.4, 9.0),  # memory is promised at the largest T only
        row("gcs()", 40, 2.0, 3.0),
        row("gcs(weighted=True)", 40, 16.0, 6.0),  # nothing is promised of it
    ]
    assert bench.broken_promises(kept) == []
    broken = bench.broken_promises(
        [*kept, row("olaux(n=5)", 5, 2.5, 1.0), row("gcs()", 40, 1.0, 3.1)]
    )
    assert broken == [
        "olaux(n=5) on mlp with 5 tasks: 2.50 times the time",
        "gcs() on mlp with 40 tasks: 3.10 times the memory",
    ]
