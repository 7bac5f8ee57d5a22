"""The tutorial's code runs, in fewer steps, and leaves what the page says."""

from pathlib import Path

import jax
import numpy as np
import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def tutorial(monkeypatch):
    monkeypatch.syspath_prepend(DOCS)
    import _tutorial

    return _tutorial


@pytest.fixture
def quick_compilation():
    """Programs that run a few times: compiling them is what takes the time."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def test_the_tutorials_code_runs(tutorial, quick_compilation, tmp_path):
    before = Path.cwd()
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        names = tutorial.run(steps=12, seed=1, folder=tmp_path)
    assert Path.cwd() == before
    assert (tmp_path / "weights.png").stat().st_size > 5_000
    seen = np.stack(names["seen"])
    assert seen.shape == (12, 5)
    assert (seen[:, 0] == 1).all()
    assert (seen[3] == 1).all()  # n is 5
    assert (seen[-1, 1:] != 1).any()
    assert len(names["accuracy"]) == 4
    assert all(0 < value <= 1 for value in names["accuracy"].values())


def test_the_table_has_a_row_for_each_way(tutorial):
    one = {"plain sum": 0.8, "OL-AUX": 0.9, "digit alone": 0.5, "logarithms alone": 0.7}
    other = dict.fromkeys(one, 0.6)
    rows = tutorial.table([one, other]).splitlines()
    assert rows[2] == "| digit alone | 55.0 ± 5.0 |"
    assert [row.split(" | ")[0] for row in rows[2:]] == [
        *("| digit alone", "| plain sum", "| logarithms alone", "| OL-AUX"),
    ]


def test_the_pages_table_has_the_same_rows(tutorial):
    for row in tutorial.table([dict.fromkeys(tutorial.ROWS, 0.5)]).splitlines()[2:]:
        assert f"\n{row.split(' | ')[0]} | " in tutorial.text()


@pytest.mark.parametrize("options", [[], ["--out", "elsewhere/weights.png"]])
def test_the_pages_figure_stays_as_it_is(tutorial, monkeypatch, tmp_path, options):
    def run(steps, seed, folder):
        Path(folder, "weights.png").write_bytes(b"drawn")
        accuracy = dict.fromkeys(tutorial.ROWS, 0.5)
        return {"accuracy": accuracy, "seen": [np.ones(5)]}

    before = (DOCS / "tutorial.png").read_bytes()
    monkeypatch.setattr(tutorial, "run", run)
    monkeypatch.chdir(tmp_path)
    tutorial.main(["--seeds", "2", *options])
    drawn = tmp_path / (options[-1] if options else "runs/tutorial.png")
    assert drawn.read_bytes() == b"drawn"
    assert (DOCS / "tutorial.png").read_bytes() == before
