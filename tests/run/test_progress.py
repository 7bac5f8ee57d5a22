import io

import pytest
from rich.console import Console

from auxjax.run import Progress, short_number


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def make_console(*, terminal):
    return Console(
        file=io.StringIO(), force_terminal=terminal, width=160, color_system=None
    )


def test_lines_where_no_terminal_is():
    clock, console = Clock(), make_console(terminal=False)
    with Progress("toy", total=1000, console=console, clock=clock) as progress:
        for done in (50, 99, 100, 150, 199):
            clock.now += 1.0
            progress.update(done, f"return={done} w=[1, 0.5]")
        clock.now += 10.0
        progress.update(199, "slow")
        clock.now += 85.0
        progress.update(1000, "end")
    assert console.file.getvalue().splitlines() == [
        "toy  10%  100/1k steps  33.3/s  0:00:03<0:00:27  return=100 w=[1, 0.5]",
        "toy  20%  199/1k steps  13.3/s  0:00:15<0:01:00  slow",
        "toy  100%  1k/1k steps  10/s  0:01:40<0:00:00  end",
    ]


def test_a_resumed_run_counts_its_own_speed():
    clock, console = Clock(), make_console(terminal=False)
    with Progress(
        "toy", total=1000, done=500, unit="frames", console=console, clock=clock
    ) as progress:
        clock.now = 10.0
        progress.update(600)
    assert console.file.getvalue() == "toy  60%  600/1k frames  10/s  0:00:10<0:00:40\n"


def test_a_total_that_comes_later():
    clock, console = Clock(), make_console(terminal=False)
    with Progress("toy", console=console, clock=clock) as progress:
        clock.now = 2.0
        progress.update(10)
        assert console.file.getvalue() == ""
        progress.update(10, total=100)
    assert "10%  10/100 steps  5/s" in console.file.getvalue()


def test_a_bar_where_a_terminal_is():
    clock, console = Clock(), make_console(terminal=True)
    with Progress("[toy]", total=100, console=console, clock=clock) as progress:
        clock.now = 5.0
        progress.note("[saved]")
        progress.update(50, "return=3 w=[bold, 0.5]")
    shown = console.file.getvalue()
    for words in ("[toy]", "━", "50/100 steps", "10/s", "w=[bold, 0.5]", "[saved]"):
        assert words in shown
    assert shown.rstrip().endswith("\x1b[?25h")


def test_a_narrow_terminal_cuts_the_free_words_only():
    clock = Clock()
    console = Console(
        file=io.StringIO(), force_terminal=True, width=80, color_system=None
    )
    with Progress("breakout", total=1_000_000, console=console, clock=clock) as bar:
        clock.now = 2.0
        bar.update(500_000, "return=12.3 w=[1, 0.82, 1.31, 0.97, 1.02]")
    last = console.file.getvalue().split("\x1b[2K")[-1].splitlines()[0]
    assert "500k/1M steps 250k/s 0:00:00 < 0:00:02 return=" in last
    assert last.rstrip().endswith("…")
    assert len(last.rstrip()) <= 80


def test_the_terminal_is_given_back_after_ctrl_c():
    console = make_console(terminal=True)
    progress = Progress("toy", total=100, console=console)
    with pytest.raises(KeyboardInterrupt), progress:
        raise KeyboardInterrupt
    shown = console.file.getvalue()
    assert shown.rfind("\x1b[?25h") > shown.rfind("\x1b[?25l") >= 0  # cursor shown


def test_quiet(capsys):
    with Progress("toy", total=10, quiet=True) as progress:
        progress.update(10, "end")
        progress.note("saved")
    assert capsys.readouterr() == ("", "")


def test_long_lines_are_not_wrapped(capsys):
    with Progress("toy", total=10) as progress:
        progress.update(10, 30 * "w=[1, 0.5] ")
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_short_number():
    assert short_number(999) == "999"
    assert short_number(999.9) == "1k"
    assert short_number(1e9) == "1G"
    assert short_number(0) == "0"
    assert short_number(0.25) == "0.25"
