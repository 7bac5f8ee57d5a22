"""Δ_MTL by hand and against the numbers that were published."""

import numpy as np
import pytest

from auxjax.supervised import delta_mtl

# Liu et al., Auto-λ, Table 1: NYUv2 (mIoU, depth error, angle; Δ).
NYUV2 = [43.37, 52.24, 22.40], [True, False, False]
TABLE = [
    ([44.64, 43.32, 24.48], 3.57),
    ([45.98, 41.26, 24.09], 6.50),
    ([48.04, 40.61, 23.31], 9.66),
    ([47.70, 39.89, 22.75], 10.69),
]


@pytest.mark.parametrize(("metrics", "delta"), TABLE)
def test_delta_of_published_rows(metrics, delta):
    assert delta_mtl(metrics, *NYUV2) == pytest.approx(delta, abs=0.011)


def test_delta_of_many_runs_and_of_itself():
    rows = np.array([row for row, _ in TABLE])
    deltas = delta_mtl(rows.reshape(2, 2, 3), *NYUV2)
    assert deltas.shape == (2, 2)
    np.testing.assert_allclose(deltas.ravel(), [d for _, d in TABLE], atol=0.011)
    assert delta_mtl(NYUV2[0], *NYUV2) == 0
    # One metric up by a tenth, one down by a fifth: both are better.
    assert delta_mtl([1.1, 0.8], [1.0, 1.0], [True, False]) == pytest.approx(15)


def test_runs_are_held_against_the_mean_over_seeds():
    """Alone 80 and 100, so 90; 2 and 4, so 3: a seed's own networks do not count."""
    metrics = np.array([[99.0, 3.0], [90.0, 2.7], [np.nan, 3.0]])
    alone = np.array([[80.0, 2.0], [100.0, 4.0]])
    deltas = delta_mtl(metrics, alone, [True, False])
    np.testing.assert_allclose(deltas, [5, 5, np.nan], rtol=1e-12)
    np.testing.assert_array_equal(
        deltas, delta_mtl(metrics, [90.0, 3.0], [True, False])
    )


def test_a_baseline_that_is_not_there_leaves_nothing():
    alone = np.array([[1.0, np.nan], [1.0, 1.0]])
    assert np.isnan(delta_mtl(np.ones((3, 2)), alone, [True, False])).all()


def test_delta_errors():
    with pytest.raises(ValueError, match="should have 2 tasks"):
        delta_mtl([1.0, 2.0, 3.0], [1.0, 2.0], [True, False])
    with pytest.raises(ValueError, match="should have 2 tasks"):
        delta_mtl([1.0, 2.0], np.ones((2, 1)), [True, False])
    with pytest.raises(ValueError, match="`baselines` should be above 0"):
        delta_mtl([1.0, 2.0], [1.0, 0.0], [True, False])
    with pytest.raises(ValueError, match="`baselines` should be above 0"):
        delta_mtl([-1.0], [-2.0], [True])  # better, and yet −50 %
