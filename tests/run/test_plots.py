import sys

import numpy as np
import pytest
from PIL import Image

from auxjax import run
from auxjax.run import _plots


@pytest.fixture
def curves():
    x = np.linspace(0, 2e6, 100)
    rng = np.random.default_rng(0)
    names = ("OL-AUX", "GCS", "equal", "main only")
    return {name: (x, np.cumsum(rng.normal(size=(5, 100)), axis=1)) for name in names}


def colours_in(path):
    image = Image.open(path).convert("RGB")
    return {"#{:02X}{:02X}{:02X}".format(*rgb) for _, rgb in image.getcolors(1 << 20)}


@pytest.fixture
def figures(monkeypatch):
    """The matplotlib figures that are saved, to look into."""
    seen = []
    save = _plots._save
    monkeypatch.setattr(
        _plots, "_save", lambda f, path: (seen.append(f), save(f, path))
    )
    return seen


def test_learning_curves(tmp_path, curves, figures):
    path = tmp_path / "curves.png"
    run.plot_learning_curves(curves, path, title="Breakout")
    assert 5_000 < path.stat().st_size < 150_000
    (axis,) = figures[0].axes
    assert axis.get_title() == "Breakout"
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("frames", "return")
    assert len(axis.lines) == len(axis.collections) == 4
    _, y = curves["GCS"]
    np.testing.assert_allclose(axis.lines[1].get_ydata(), y.mean(axis=0))
    band = axis.collections[1].get_paths()[0].vertices
    assert np.isclose(band[:, 1].max(), (y.mean(0) + y.std(0, ddof=1)).max())
    (legend,) = figures[0].legends
    assert [text.get_text() for text in legend.get_texts()] == list(curves)
    # Outside the data: the legend begins where the axes end.
    assert legend.get_window_extent().x0 > axis.get_window_extent().x1
    assert {"#0072B2", "#D55E00"} <= colours_in(path)


def test_no_band_for_one_seed_and_nan_does_not_count(tmp_path, figures):
    y = np.array([np.nan, 1.0, 2.0])
    run.plot_learning_curves({"a": ([0, 1, 2], y)}, tmp_path / "a.png")
    (axis,) = figures[0].axes
    assert len(axis.collections) == 0
    np.testing.assert_array_equal(axis.lines[0].get_ydata(), y)
    run.plot_learning_curves(
        {"a": ([0, 1], [[np.nan, 1.0], [np.nan, np.nan]])}, tmp_path / "a.png"
    )
    np.testing.assert_array_equal(figures[1].axes[0].lines[0].get_ydata(), [np.nan, 1])


def test_weights(tmp_path, figures):
    x, weights = np.arange(10), np.random.default_rng(0).random((10, 3))
    run.plot_weights(x, weights, ["main", "flow", "ego"], tmp_path / "w.png")
    (axis,) = figures[0].axes
    np.testing.assert_array_equal(axis.lines[2].get_ydata(), weights[:, 2])
    assert axis.get_ylabel() == "weight"
    seeds = np.stack([weights, weights + 1])
    run.plot_weights(x, seeds, ["main", "flow", "ego"], tmp_path / "w.png")
    (axis,) = figures[1].axes
    np.testing.assert_allclose(axis.lines[1].get_ydata(), weights[:, 1] + 0.5)
    assert len(axis.collections) == 3


def test_grid(tmp_path, curves, figures):
    panels = {
        "one": {"GCS": curves["GCS"]},
        "two": {"OL-AUX": curves["OL-AUX"], "GCS": curves["GCS"]},
        "three": {"OL-AUX": curves["OL-AUX"]},
    }
    path = tmp_path / "grid.png"
    run.plot_grid(panels, path, columns=2, title="All")
    one, two, three, empty = figures[0].axes
    assert [axis.get_title() for axis in (one, two, three)] == ["one", "two", "three"]
    assert not empty.get_visible()
    colour = one.lines[0].get_color()
    assert two.lines[1].get_color() == colour
    assert three.lines[0].get_color() == two.lines[0].get_color() != colour
    assert [axis.get_xlabel() for axis in (one, two, three)] == ["", *2 * ["frames"]]
    assert [axis.get_ylabel() for axis in (one, two, three)] == [
        "return",
        "",
        "return",
    ]
    assert len(figures[0].legends[0].get_texts()) == 2


def test_many_panels_stay_small(tmp_path, curves):
    path = tmp_path / "grid.png"
    run.plot_grid({f"game {i}": curves for i in range(9)}, path)
    assert path.stat().st_size < 150_000


def test_styles_are_kept_over_figures(tmp_path, curves, figures):
    styles = run.line_styles(list(curves))
    only = {"equal": curves["equal"]}
    run.plot_learning_curves(only, tmp_path / "one.png", styles=styles)
    assert figures[0].axes[0].lines[0].get_color() == styles["equal"][0] == "#009E73"


def test_line_styles_differ():
    assert len(set(run.line_styles([str(i) for i in range(28)]).values())) == 28


def test_pyplot_is_left_alone(tmp_path, curves):
    sys.modules.pop("matplotlib.pyplot", None)
    run.plot_learning_curves(curves, tmp_path / "curves.png")
    assert "matplotlib.pyplot" not in sys.modules


def test_refusals(tmp_path, curves):
    path = tmp_path / "x.png"
    with pytest.raises(ValueError, match="at least one curve"):
        run.plot_learning_curves({}, path)
    with pytest.raises(ValueError, match=r"`a` should have x \[n\].*\(3,\), \(1, 2\)"):
        run.plot_learning_curves({"a": ([1, 2, 3], [1, 2])}, path)
    with pytest.raises(ValueError, match=r"`weights`.*\[n, 2\].*Found \(4, 3\)"):
        run.plot_weights(np.arange(4), np.ones((4, 3)), ["a", "b"], path)
    with pytest.raises(ValueError, match=r"`columns` should be at least 1. Found 0"):
        run.plot_grid({"a": curves}, path, columns=0)
    with pytest.raises(run.RunError, match=r"absent/x.png.*No such file"):
        run.plot_learning_curves(curves, tmp_path / "absent" / "x.png")


def test_without_matplotlib(tmp_path, curves, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "auxjax\[plots\]"'):
        run.plot_learning_curves(curves, tmp_path / "x.png")
