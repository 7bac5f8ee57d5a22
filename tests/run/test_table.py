import io

import numpy as np
from rich.console import Console

from auxjax import run

ROWS = [
    {"rule": "olaux [n=5]", "return": 12.345678, "frames": 1_200_000.0, "seeds": 5},
    {"rule": "a|b", "return": 0.5, "frames": None, "best": True},
    {"rule": "sum", "return": float("nan"), "frames": np.int64(7)},
]


def test_markdown():
    assert run.table_markdown(ROWS).splitlines() == [
        "| rule | return | frames | seeds | best |",
        "|:--|--:|--:|--:|--:|",
        "| olaux [n=5] | 12.35 | 1,200,000 | 5 |  |",
        "| a\\|b | 0.5 | not reached |  | yes |",
        "| sum | not reached | 7 |  |  |",
    ]
    assert "| sum | - | 7 |" in run.table_markdown(ROWS, missing="-")


def test_print_table(capsys):
    run.print_table(ROWS[:1], "Results [all]")
    assert "olaux [n=5]" in capsys.readouterr().out
    console = Console(file=io.StringIO(), width=100)
    run.print_table(ROWS, "Results [all]", console=console)
    shown = console.file.getvalue()
    for words in ("Results [all]", "olaux [n=5]", "1,200,000", "not reached", "a|b"):
        assert words in shown


def test_mean_std():
    # Sample deviation of 1, 2, 3, 4: sqrt(5 / 3) = 1.29.
    assert run.mean_std([1, 2, 3, 4]) == "2.5 ± 1.3"
    assert run.mean_std(np.array([[1.0, 2.0], [3.0, 4.0]]), digits=2) == "2.50 ± 1.29"
    assert run.mean_std(7) == "7.0"
    assert run.mean_std([1.0, np.nan, np.nan]) == "1.0 ± 0.0 (1 of 3)"
    assert run.mean_std([np.nan, np.nan]) == "nan (0 of 2)"


def test_mean_and_std_leave_nan_out():
    mean, std = run.mean_and_std([[1.0, np.nan, 2.0], [3.0, np.nan, np.nan]])
    np.testing.assert_array_equal(mean, [2.0, np.nan, 2.0])
    np.testing.assert_allclose(std, [np.sqrt(2), 0.0, 0.0])


def test_frames_to_reach():
    x = [100, 200, 300, 400]
    assert run.frames_to_reach(x, [0.0, 5.0, 4.0, 9.0], 5.0) == 200
    assert run.frames_to_reach(x, [0.0, 5.0, 4.0, 9.0], 10) is None
    assert run.frames_to_reach(x, [[np.nan, 2, 6, 8], [np.nan, 2, 2, 8]], 4) == 300
    assert run.frames_to_reach(x, 4 * [np.nan], 0.0) is None
