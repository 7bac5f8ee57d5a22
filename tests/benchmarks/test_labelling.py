import json

import jax
import numpy as np
import pytest

from tests._scripts import BENCHMARKS, load_script


@pytest.fixture(autouse=True)
def quick_compilation():
    """Tiny programs run a few times: compiling them is what takes the time."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture
def bench():
    return load_script("labelling", BENCHMARKS)


def test_smoke_run_writes_table_and_numbers(bench, tmp_path):
    bench.main(["--smoke", "--networks", "small", "--out", str(tmp_path)])
    found = json.loads((tmp_path / "labelling.json").read_text())
    speeds = {row["program"]: row["images/s"] for row in found["rows"]}
    assert set(speeds) == set(bench.OURS.values())
    assert min(speeds.values()) > 0
    assert all(row["ratio"] is None for row in found["rows"])
    assert "| small | auxjax, 1 seed |" in (tmp_path / "labelling.md").read_text()


def test_both_sides_see_the_same(bench):
    images, labels = bench.read(bench.Config())
    assert images.shape == (1437, 8, 8, 1)
    assert np.unique(labels).tolist() == [0, 1, 2, 3]
    sizes = bench.sizes_of(bench.Config(), "cnn", images)
    assert (sizes["batch_size"], sizes["eval_size"]) == (100, 256)
    assert (sizes["ppo_epochs"], sizes["minibatch_size"]) == (10, 64)


def test_a_broken_promise_is_named(bench):
    rows = bench.table("small", {bench.OURS[1]: [90.0, 80.0], bench.THEIRS: [5.0, 4.0]})
    assert [row["ratio"] for row in rows] == [19.0, 1.0]
    assert bench.broken_promises(rows) == [
        "auxjax, 1 seed: 19.0 times the peer's speed, not 20"
    ]
    rows = bench.table("small", {bench.OURS[1]: [90.0, 80.0], bench.THEIRS: [4.0, 4.0]})
    assert bench.broken_promises(rows) == []
    assert bench.broken_promises(bench.table("small", {bench.OURS[1]: [90.0]})) == []
