"""A progress bar where a terminal is, a line now and then where none is."""

from __future__ import annotations

import datetime
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from auxjax._extras import extra
from auxjax.run._terminal import plain_text

_LINE_EVERY = 10.0  # seconds between lines where no terminal is ...
_LINES = 10  # ... unless a tenth of the work is done sooner
_WINDOW = 20  # updates over which the rate is taken


class Progress:
    """Shows how far a run is, how fast, and how long it still takes; on stderr.

    Leaving the `with` block gives the terminal back, whatever was raised inside.

    Args:
      description: what runs, in a few words.
      total: how much there is to do; None while that is not known.
      done: how much is done already, by a run that resumes.
      unit: of what.
      quiet: whether to show nothing at all.
      console: the `rich.console.Console` to write on; stderr's if None.
      clock: seconds that only grow.

    Example:
      >>> with Progress("cartpole", total=100, quiet=True) as progress:
      ...     progress.update(50, "return=12.0 w=[1, 0.5]")
    """

    def __init__(
        self,
        description: str,
        *,
        total: int | None = None,
        done: int = 0,
        unit: str = "steps",
        quiet: bool = False,
        console: Any = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._description, self._total, self._unit = description, total, unit
        self._clock, self._quiet = clock, quiet
        self._done = done
        self._start = clock()
        self._points = deque([(self._start, done)], maxlen=_WINDOW)
        self._said = (self._start, self._tenth())
        self._bar: Any = None
        self._console = None if quiet else console or _stderr()

    def update(self, done: int, text: str = "", *, total: int | None = None) -> None:
        """Moves on.

        Args:
          done: how much is done by now, in all.
          text: free words beside the bar.
          total: how much there is to do, where it was not known before.
        """
        self._total = self._total if total is None else total
        self._done = done
        self._points.append((self._clock(), done))
        if self._bar is not None:
            self._bar.update(0, completed=done, total=self._total, **self._words(text))
        elif self._console is not None and self._is_time():
            self._said = (self._clock(), self._tenth())
            self._console.print(self._line(text), markup=False, highlight=False)

    def note(self, message: str) -> None:
        """Writes a line of its own, above the bar."""
        if self._console is not None:
            self._console.print(message, markup=False, highlight=False)

    def __enter__(self) -> Progress:
        if self._console is not None and self._console.is_terminal:
            self._bar = _rich_bar(self._console)
            self._bar.add_task(
                self._description,
                total=self._total,
                completed=self._done,
                **self._words(""),
            )
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _words(self, text: str) -> dict[str, str]:
        (before, first), (now, last) = self._points[0], self._points[-1]
        rate = (last - first) / (now - before) if now > before else 0.0
        total = "?" if self._total is None else short_number(self._total)
        left = "?"
        if self._total is not None and rate > 0:
            left = _clock_time(max(self._total - self._done, 0) / rate)
        return {
            "amount": f"{short_number(self._done)}/{total} {self._unit}",
            "rate": f"{short_number(rate)}/s" if rate > 0 else "",
            "left": left,
            "text": text,
        }

    def _line(self, text: str) -> str:
        words = self._words(text)
        share = f"{100 * self._done / self._total:.0f}%" if self._total else ""
        times = f"{_clock_time(self._clock() - self._start)}<{words['left']}"
        parts = [self._description, share, words["amount"], words["rate"], times, text]
        return "  ".join(part for part in parts if part)

    def _is_time(self) -> bool:
        said_at, tenth = self._said
        overdue = self._clock() - said_at >= _LINE_EVERY
        return overdue or self._tenth() > tenth

    def _tenth(self) -> int:
        return _LINES * self._done // self._total if self._total else 0


def short_number(value: float | int) -> str:
    """Three digits and a letter.

    Example:
      >>> [short_number(x) for x in (7, 950, 28_140, 2_500_000, 10_000_000)]
      ['7', '950', '28.1k', '2.5M', '10M']
    """
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def _clock_time(seconds: float | int) -> str:
    return str(datetime.timedelta(seconds=round(seconds)))


def _stderr() -> Any:
    plain_text()
    with extra("run", "`Progress`"):
        from rich.console import Console
    # No width where no terminal is: a log is not wrapped.
    console = Console(stderr=True)
    return console if console.is_terminal else Console(stderr=True, soft_wrap=True)


def _rich_bar(console: Any) -> Any:
    from rich import progress as rich_progress
    from rich.table import Column

    def words(field: str, column: Any = None) -> Any:
        # No markup: a list of weights in brackets is not the name of a colour.
        return rich_progress.TextColumn(
            f"{{task.fields[{field}]}}", markup=False, table_column=column
        )

    return rich_progress.Progress(
        rich_progress.TextColumn("{task.description}", markup=False),
        rich_progress.BarColumn(bar_width=12),
        words("amount"),
        words("rate"),
        rich_progress.TimeElapsedColumn(),
        rich_progress.TextColumn("<", markup=False),
        words("left"),
        # Where the line is too long, the free words are cut and the rest stays.
        words("text", Column(ratio=1, no_wrap=True, overflow="ellipsis")),
        console=console,
        expand=True,
        refresh_per_second=4,
    )
