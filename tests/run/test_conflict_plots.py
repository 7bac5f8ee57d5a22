"""The figure of a diagnosis shows its numbers."""

import sys

import numpy as np
import pytest

import auxjax
from auxjax import run
from auxjax.run import _plots
from auxjax.run._conflict_plots import running_mean


def diagnosis(num_tasks=3, batches=24, measured=slice(None)):
    """Cosines of random gradients."""
    rng = np.random.default_rng(num_tasks)
    rows = rng.normal(size=(batches, num_tasks, 5)) + rng.normal(size=(num_tasks, 5))
    norms = np.linalg.norm(rows, axis=2)
    gram = rows @ rows.transpose(0, 2, 1)
    return auxjax.Diagnosis(
        names=tuple(f"task {i}" for i in range(num_tasks)),
        inner_products=gram[:, 0],
        pair_cosines=(gram / norms[:, :, None] / norms[:, None])[measured],
        pair_norms=norms[measured],
        pair_batches=np.arange(batches)[measured],
        nonfinite=np.zeros(num_tasks, int),
    )


@pytest.fixture
def figures(monkeypatch):
    """The matplotlib figures that are saved, to look into."""
    seen, save = [], _plots._save
    monkeypatch.setattr(
        _plots, "_save", lambda f, path: (seen.append(f), save(f, path))
    )
    return seen


def test_the_figure_shows_the_numbers(tmp_path, figures):
    found = diagnosis(measured=slice(None, None, 2))
    run.plot_conflicts(found, tmp_path / "c.png", title="Rooms", xlabel="steps")
    assert 5_000 < (tmp_path / "c.png").stat().st_size < 150_000
    heat, time, _ = figures[0].axes  # and the colours' bar
    np.testing.assert_allclose(heat.images[0].get_array(), found.cosines)
    assert heat.images[0].get_clim() == (-1, 1)
    assert [x.get_text() for x in heat.get_yticklabels()] == list(found.names)
    assert [x.get_text() for x in heat.texts[:3]] == [
        f"{x:.2f}" for x in found.cosines[0]
    ]
    faint, strong = time.lines[2], time.lines[3]  # of the last helper
    np.testing.assert_array_equal(faint.get_xdata(), np.arange(0, 24, 2))
    np.testing.assert_array_equal(faint.get_ydata(), found.pair_cosines[:, 0, 2])
    np.testing.assert_array_equal(strong.get_ydata(), faint.get_ydata())  # of one
    assert time.get_xlabel() == "steps"
    assert time.get_title() == "cosine with task 0"
    (legend,) = figures[0].legends
    assert [x.get_text() for x in legend.get_texts()] == ["task 1", "task 2"]


def test_one_task_many_tasks_and_what_is_missing(tmp_path, figures):
    run.plot_conflicts(diagnosis(1), tmp_path / "one.png")
    assert len(figures[0].axes) == 2  # no line over time
    run.plot_conflicts(diagnosis(41), tmp_path / "many.png")
    assert (tmp_path / "many.png").stat().st_size < 300_000
    heat = figures[1].axes[0]
    assert not heat.texts  # numbers would be too small
    gaps = diagnosis()
    gaps.pair_cosines[:, 2, :] = gaps.pair_cosines[:, :, 2] = np.nan
    run.plot_conflicts(gaps, tmp_path / "gaps.png")
    assert figures[2].axes[0].texts[2].get_text() == "–"
    with pytest.raises(ValueError, match=r"`pairs_every` of at least 1\. Found none"):
        run.plot_conflicts(diagnosis(measured=slice(0)), tmp_path / "none.png")


def test_the_running_mean():
    values = np.array([1.0, 2.0, np.nan, 4.0, 9.0, np.nan])
    np.testing.assert_array_equal(running_mean(values, 1), values)
    expected = [1.5, 1.5, 3.0, 6.5, 6.5, 9.0]
    np.testing.assert_allclose(running_mean(values, 3), expected)
    np.testing.assert_allclose(running_mean(values, 6)[3], 4.0)


def test_without_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "auxjax\[plots\]"'):
        run.plot_conflicts(diagnosis(), tmp_path / "x.png")
