import json

import jax
import numpy as np
import pytest

from tests._scripts import BENCHMARKS, load_script


@pytest.fixture
def bench():
    return load_script("examples", BENCHMARKS)


def test_smoke_run_writes_table_and_numbers(bench, tmp_path):
    bench.main(["--smoke", "--models", "mlp", "--out", str(tmp_path)])
    found = json.loads((tmp_path / "examples.json").read_text())
    rows = {row["what"]: row for row in found["rows"]}
    assert {"gramian()", "rows()", "upgrad", "the rows' size"} <= rows.keys()
    numbers = 5 * 6 + 6 + 2 * (6 * 6 + 6) + 6 * 10 + 10
    assert rows["the rows' size"]["MB"] == pytest.approx(4e-6 * 4 * numbers)
    assert "| gramian(chunk_size=16) |" in (tmp_path / "examples.md").read_text()


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_what_is_compared_is_the_same(bench, model):
    """All Gramians, and the norms and rows that they are made of."""
    from _rules_models import SMALL

    params, batch, losses = bench.make_model(model, SMALL)
    asked = bench.asked(losses, SMALL.batch)
    found = {name: asked[name](params, batch) for name in list(asked)[:6]}
    rows = np.concatenate(
        [
            np.asarray(x).reshape(SMALL.batch, -1)
            for x in jax.tree.leaves(found["rows()"])
        ],
        axis=1,
    )
    expected = rows @ rows.T
    for name in ("gramian()", "gramian(chunk_size=16)", "one backward pass each"):
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["norms()"] ** 2, np.diag(expected), rtol=1e-4)


def test_a_broken_promise_is_named(bench):
    def row(what, memory):
        return {"model": "mlp", "what": what, "MB": memory}

    rows = [row("the rows' size", 100.0), row("gramian()", 20.0)]
    kept = [*rows, row("gramian(chunk_size=16)", 3.0)]
    assert bench.broken_promises(kept) == []
    assert bench.broken_promises([*rows, row("gramian(chunk_size=16)", 21.0)]) == [
        "gramian(chunk_size=16) on mlp: 0.21 of the rows' memory"
    ]
