"""The code of "Do my tasks conflict?" runs, in fewer steps, and leaves what it says."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest

import auxjax

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def conflicts(monkeypatch):
    monkeypatch.syspath_prepend(DOCS)
    import _conflicts

    return _conflicts


@pytest.fixture
def page():
    return (DOCS / "do_my_tasks_conflict.md").read_text()


@pytest.fixture
def quick_compilation():
    """Programs that run a few times: compiling them is what takes the time."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def test_the_pages_code_runs(conflicts, quick_compilation, tmp_path, capsys):
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        names = conflicts.run(12, labels=50, images=1437, seed=0, folder=tmp_path)
    assert (tmp_path / "conflicts.png").stat().st_size > 5_000
    look, plain, of_logs = (names[x] for x in ("look", "plain", "of_logs"))
    assert look.names == plain.names == names["NAMES"] == tuple(names["labels"])
    assert look.inner_products.shape == (40, 6)
    assert of_logs.inner_products.shape == (12, 6)
    assert plain.pair_batches.tolist() == [0, 10]
    assert names["groups"].mean == pytest.approx(np.mean(names["groups"].affinities))
    assert len(names["right"]) == 6
    assert all(0 < value <= 100 for value in names["right"].values())
    said = capsys.readouterr().out
    assert said.count("verdict\n") == 2
    # The look is at the same parameters whatever the steps: the page has its table.
    text = (DOCS / "do_my_tasks_conflict.md").read_text()
    shown = re.findall(r"```text\n(.*?)```", text, re.DOTALL)[0]
    assert [row.split()[0] for row in shown.splitlines()[1:7]] == list(look.names)
    rows = [row.split() for row in shown.splitlines()[1:7]]
    effects = [float(row[1]) for row in rows]
    np.testing.assert_allclose(effects, look.effect, atol=2e-3)


def test_every_verdict_has_its_row_and_its_rules_exist(page):
    from auxjax.diagnosis import _verdicts

    words = {value for name, value in vars(_verdicts).items() if name.isupper()}
    part = page.split("## From a verdict to a rule")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([a-z ]+)` \|", part, re.M)
    assert set(rows) == words - {"main task"}
    linked = re.findall(r"\[`(\w+)[^`]*`\]\(rules/(\w+)\.md\)", part)
    assert len(linked) > 8
    for name, rule in linked:
        assert hasattr(auxjax, name)
        assert name.removeprefix("scale_by_") == rule


def test_the_pages_tables_have_the_rows_that_are_printed(conflicts, page):
    looks = auxjax.Diagnosis(
        names=("digit", "parity", "size", "loops", "shuffled", "random"),
        inner_products=np.ones((9, 6)) + np.arange(9)[:, None],
        pair_cosines=np.ones((9, 6, 6)),
        pair_norms=np.ones((9, 6)),
        pair_batches=np.arange(9),
        nonfinite=np.zeros(6),
    )
    right = re.findall(r'^    "([a-z ]+)": ', page, re.M)
    run = {"NAMES": looks.names, "look": looks, "plain": looks, "of_logs": looks}
    run["right"] = dict.fromkeys(right, 50.0)
    assert len(right) == 6
    watched = conflicts.watched([run, run])
    accuracies = conflicts.accuracies({50: [run], 1437: [run]})
    for table in (watched, accuracies):
        head, _, *rows = table.splitlines()
        assert head in page
        for row in rows:
            assert f"\n{row.split(' | ')[0]} | " in page
    assert "| +5, +5 | 1.000 ± 0.000 |" in watched
    assert accuracies.endswith("| 50.0 ± 0.0 | 50.0 ± 0.0 |")


@pytest.mark.parametrize("options", [[], ["--out", "elsewhere/conflicts.png"]])
def test_the_pages_figure_stays_as_it_is(conflicts, monkeypatch, tmp_path, options):
    def run(steps, labels, images, seed, folder):
        Path(folder, "conflicts.png").write_bytes(b"drawn")
        looks = auxjax.Diagnosis(
            names=("digit", "parity"),
            inner_products=np.ones((9, 2)),
            pair_cosines=np.ones((9, 2, 2)),
            pair_norms=np.ones((9, 2)),
            pair_batches=np.arange(9),
            nonfinite=np.zeros(2),
        )
        return {
            **{"look": looks, "plain": looks, "of_logs": looks, "right": {"sum": 50.0}},
            "NAMES": looks.names,
            "hints": np.array([True, False]),
            "groups": auxjax.group_tasks(np.ones((2, 2)), 1),
        }

    before = (DOCS / "do_my_tasks_conflict.png").read_bytes()
    monkeypatch.setattr(conflicts, "run", run)
    monkeypatch.chdir(tmp_path)
    conflicts.main(["--seeds", "2", *options])
    drawn = tmp_path / (options[-1] if options else "runs/conflicts.png")
    assert drawn.read_bytes() == b"drawn"
    assert (DOCS / "do_my_tasks_conflict.png").read_bytes() == before
