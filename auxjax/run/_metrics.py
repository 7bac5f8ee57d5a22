"""Metrics as JSON Lines: appended a row at a time, cut back when a run resumes."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from auxjax.run._errors import RunError, writing
from auxjax.run._json import from_json, replace_file, to_json

_REMEMBERED = 256  # lines that a checkpoint keeps a copy of, or one whole step's


class MetricsWriter:
    """Appends rows to a JSONL file; every row is with the system once `write` returns.

    Args:
      path: the file; made if absent.

    Raises:
      RunError: the file cannot be written; the message has the system's reason.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     with MetricsWriter(f"{folder}/metrics.jsonl") as metrics:
      ...         metrics.write({"step": 0, "loss": 0.5})
      ...         metrics.write({"step": 1, "loss": float("nan")})
      ...         metrics.truncate_after(0)
      ...     read_metrics(f"{folder}/metrics.jsonl")
      [{'step': 0, 'loss': 0.5}]
    """

    def __init__(self, path: str | Path):
        self._path = Path(path)
        if self._path.is_file():
            self._keep(lambda row: True)
        self._open()
        self._last: deque[tuple[int, str]] = deque()

    def write(self, row: Mapping[str, Any]) -> None:
        """Appends one row.

        Args:
          row: values that `to_json` accepts, among them an int "step".

        Raises:
          ValueError: the row has no whole number called "step".
          RunError: the disk is full, or the file cannot be written.
        """
        plain = to_json(dict(row))
        step = plain.get("step")
        if not isinstance(step, int) or isinstance(step, bool):
            raise ValueError(f'`row["step"]` should be an int. Found {step!r}.')
        line = json.dumps(plain, allow_nan=False) + "\n"
        with writing(self._path):
            _append(self._file, line.encode())
        self._last.append((step, line))
        if len(self._last) > _REMEMBERED:
            oldest = self._last[0][0]
            while self._last[0][0] == oldest != step:
                self._last.popleft()

    def take_last(self) -> list[str]:
        """The last lines written since this was last asked, of whole steps.

        All that was written is on the disk, too, when it returns.
        """
        with writing(self._path):
            os.fsync(self._file.fileno())
        last = [line for _, line in self._last]
        self._last.clear()
        return last

    def truncate_after(self, step: int) -> None:
        """Drops the rows beyond `step`, and a last line that was cut short.

        A run killed between two checkpoints has written rows that the resumed run will
        write again; without them the file equals that of a run never stopped.
        """
        self._file.close()
        self._keep(lambda row: row["step"] <= step)
        self._open()

    def close(self) -> None:
        """Closes the file; harmless if done twice."""
        self._file.close()

    def __enter__(self) -> MetricsWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> None:
        with writing(self._path):
            # Unbuffered: a row that failed is not tried again when the file closes.
            self._file = self._path.open("ab", buffering=0)

    def _keep(self, wanted: Any) -> None:
        content = self._path.read_bytes()
        lines = _whole_lines(content)
        kept = [line for line in lines if wanted(_row(self._path, line))]
        if len(b"".join(kept)) != len(content):
            replace_file(self._path, b"".join(kept))


def mend_metrics(path: Path, step: int, last: Sequence[str]) -> None:
    """Brings the file to what it was when the checkpoint of `step` was saved.

    Rows beyond `step` go: the run will write them again. The lines in `last`, which the
    checkpoint has kept, are written again where the disk lost or damaged them.

    Args:
      path: the metrics; they need not exist.
      step: of the checkpoint; -1 if there is none.
      last: what `take_last` gave before it.

    Raises:
      RunError: a line before `last` is no JSON object; or the file cannot be written.
    """
    content = path.read_bytes() if path.is_file() else b""
    begin = json.loads(last[0])["step"] if last else step + 1
    lines = _whole_lines(content)
    while last and lines and not _is_before(begin, lines[-1]):
        lines.pop()
    kept = [line for line in lines if _row(path, line)["step"] < begin]
    mended = b"".join(kept) + "".join(last).encode()
    if mended != content:
        replace_file(path, mended)


def _is_before(step: int, line: bytes) -> bool:
    """Whether it is a whole row of an earlier step."""
    try:
        return json.loads(line)["step"] < step
    except (ValueError, TypeError, KeyError):
        return False


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    r"""The rows of a JSONL file; a last line that was cut short is left out.

    Args:
      path: the file.

    Returns:
      One dict per row; "NaN", "Infinity" and "-Infinity" are floats again.

    Raises:
      RunError: there is no such file, or a line in its midst is no JSON object.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = Path(folder, "metrics.jsonl")
      ...     _ = path.write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "lo')
      ...     read_metrics(path)
      [{'step': 1, 'loss': 0.5}]
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunError(
            f"`{path}` should be a metrics file. Found: {error.strerror}."
        ) from error
    return [from_json(_row(path, line)) for line in _whole_lines(content)]


def _append(file: Any, content: bytes) -> None:
    # The system may take a part only; on a full disk the next call then says why.
    while content:
        content = content[os.write(file.fileno(), content) :]


def _whole_lines(content: bytes) -> list[bytes]:
    lines = content.splitlines(keepends=True)
    return [line for line in lines if line.endswith(b"\n")]


def _row(path: Path, line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    if not isinstance(row, dict) or "step" not in row:
        raise RunError(
            f'`{path}` should hold one JSON object with a "step" a line. '
            f"Found {line[:60].decode(errors='replace').rstrip()!r}."
        )
    return row
