import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax
from tests._scripts import BENCHMARKS, load_script


@pytest.fixture
def bench():
    return load_script("periodic", BENCHMARKS)


def test_smoke_run_writes_table_and_numbers(bench, tmp_path):
    bench.main(["--smoke", "--models", "mlp", "--out", str(tmp_path)])
    found = json.loads((tmp_path / "periodic.json").read_text())
    rows = {row["rule"]: row for row in found["rows"]}
    assert found["every"] == 3
    assert rows[bench.BASELINE]["average"] == 1.0
    assert rows["sum_tasks()"]["kept"] is None
    assert rows["periodic(upgrad(), 3)"]["found"] > 0
    text = (tmp_path / "periodic.md").read_text()
    assert "| periodic(upgrad(), 6) |" in text


def test_what_was_measured_before_is_kept(bench, tmp_path):
    options = ["--smoke", "--keep", "--out", str(tmp_path)]
    bench.main([*options, "--models", "mlp"])
    bench.main([*options, "--models", "cnn"])
    found = json.loads((tmp_path / "periodic.json").read_text())
    assert {row["model"] for row in found["rows"]} == {"mlp", "cnn"}


def test_a_broken_promise_is_named(bench):
    def row(rule, average, tasks=40):
        return {"rule": rule, "model": "mlp", "tasks": tasks, "average": average}

    kept = [row("upgrad()", 9.0), row("periodic(upgrad(), 10)", 1.5)]
    kept.append(row("periodic(mgda(), 10)", 3.0, tasks=20))
    assert bench.broken_promises(kept) == []
    assert bench.broken_promises([*kept, row("periodic(mgda(), 10)", 1.6)]) == [
        "periodic(mgda(), 10) on mlp with 40 tasks: 1.60 times equal weighting"
    ]


def test_the_timed_rules_do_what_they_say(bench):
    """The first step is the rule's own, and the last layer's alone is that."""
    from _rules_models import SMALL, make_model

    params, batch, losses = make_model("mlp", 3, SMALL)
    rules = bench.rules(3, 10, params)
    jac = auxjax.task_jacobian(losses, params, batch)

    def first(rule):
        tx = optax.with_extra_args_support(rule)
        return tx.update(jac, tx.init(params), params)[0]

    expected = first(rules["upgrad()"])
    for a, b in zip(
        jax.tree.leaves(first(rules["periodic(upgrad(), 10)"])),
        jax.tree.leaves(expected),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    last = first(rules[f"periodic(upgrad(), 10), {bench.LAST}"])
    summed = jac.vjp(jnp.ones(3))
    np.testing.assert_allclose(
        last["trunk"][0]["kernel"], summed["trunk"][0]["kernel"], rtol=1e-5
    )
    assert np.any(last["trunk"][-1]["kernel"] != summed["trunk"][-1]["kernel"])
