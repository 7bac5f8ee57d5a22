"""What can go wrong around a run, said in one line each."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax

from auxjax.run._terminal import plain_text

STOPPED = 130
"""The exit code that a shell reports for a program ended by Ctrl-C."""


class RunError(ValueError):
    """The folder, the disk or the checkpoint is not what the run needs.

    A subclass of its own, so that a script can print these without a traceback and
    still let every other `ValueError` show where it came from.
    """


class NonFiniteLoss(RuntimeError):
    """A loss became NaN or infinite; the message names where to look.

    Attributes:
      step: the step of the first loss that is not finite.
      task: the name of its task.
      value: the loss itself.
      checkpoint: the last checkpoint before it, if one was saved.
    """

    def __init__(self, step: int, task: str, value: float, checkpoint: Path | None):
        self.step, self.task, self.value = step, task, value
        self.checkpoint = checkpoint
        last = (
            "No checkpoint was saved before it."
            if checkpoint is None
            else f"The last good checkpoint is of step {checkpoint.name}: {checkpoint}."
        )
        super().__init__(f"The loss of `{task}` is {value} at step {step}. {last}")


@contextmanager
def plain_errors() -> Iterator[None]:
    """Ends the program with one line on stderr where a `RunError` would escape.

    For the `main` of a script: exit code 2 for a `RunError` (the user can mend the
    command), 1 for a `NonFiniteLoss`, 130 for Ctrl-C. Every other exception keeps its
    traceback.

    Example:
      >>> with plain_errors():
      ...     losses = [0.5, 0.25]
    """
    plain_text()
    try:
        with quiet_interrupts():
            yield
    except (KeyboardInterrupt, Exception) as error:
        if was_interrupted(error):
            print("Stopped.", file=sys.stderr)
            raise SystemExit(STOPPED) from None
        if not isinstance(error, RunError | NonFiniteLoss):
            raise
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2 if isinstance(error, RunError) else 1) from error


@contextmanager
def quiet_interrupts() -> Iterator[None]:
    """Keeps JAX from logging the traceback of a Ctrl-C that a host callback hears."""
    logger = logging.getLogger("jax._src.callback")
    logger.addFilter(_is_no_interrupt)
    try:
        yield
    finally:
        logger.removeFilter(_is_no_interrupt)


def _is_no_interrupt(record: logging.LogRecord) -> bool:
    return not record.exc_info or record.exc_info[0] is not KeyboardInterrupt


def was_interrupted(error: BaseException) -> bool:
    """Whether it is Ctrl-C, or what others make of one that their code heard.

    JAX of a host callback's a `JaxRuntimeError`, an import in C an `ImportError`.
    """
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, KeyboardInterrupt):
        if isinstance(seen, jax.errors.JaxRuntimeError):
            return "KeyboardInterrupt" in str(seen)
        seen = seen.__cause__ or seen.__context__
    return seen is not None


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns an `OSError` into a `RunError` with the path and the system's reason.

    Args:
      path: what is written, or the folder of it.

    Example:
      >>> from pathlib import Path
      >>> with writing(Path("/no/such/folder")):
      ...     open("/no/such/folder/file", "w")
      Traceback (most recent call last):
      ...
      auxjax.run._errors.RunError: `/no/such/folder` should be writable. Found: No such
      file or directory.
    """
    try:
        yield
    except OSError as error:
        raise RunError(
            f"`{path}` should be writable. Found: {error.strerror or error}."
        ) from error


@contextmanager
def reading() -> Iterator[None]:
    """Turns what a reader says of a user's files into a `RunError`.

    For data that is absent (`FileNotFoundError`), malformed (`ValueError`), or needs a
    package that is not installed.

    Example:
      >>> with reading():
      ...     open("no such file")
      Traceback (most recent call last):
      ...
      auxjax.run._errors.RunError: [Errno 2] No such file or directory: 'no such file'
    """
    try:
        yield
    except (OSError, ValueError, ModuleNotFoundError) as error:
        raise RunError(str(error)) from error
