import numpy as np
import pytest

KINDS = ("normal", "alike", "duplicated", "opposing", "unequal lengths")


@pytest.fixture
def make_rows():
    """Jacobians `[T, n]` by kind, in float64."""

    def make(num_tasks, size, kind="normal", seed=0):
        rng = np.random.default_rng(seed)
        rows = rng.normal(size=(num_tasks, size))
        half = num_tasks // 2
        if kind == "alike":
            rows = rows[:1] + 0.3 * rows
        elif kind == "duplicated":
            rows[half:] = rows[: num_tasks - half]
        elif kind == "opposing":
            rows[half:] = -0.7 * rows[: num_tasks - half]
        elif kind == "unequal lengths":
            rows *= 10.0 ** rng.uniform(-3, 3, size=(num_tasks, 1))
        return rows

    return make
