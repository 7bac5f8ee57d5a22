"""What stands outside the core is imported late, and asked for in one wording."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from types import ModuleType


@contextlib.contextmanager
def extra(name: str, wanted: str) -> Iterator[None]:
    """Names the extra to install where an import inside the block fails.

    Args:
      name: the extra of this package that brings what is imported.
      wanted: what needs it, for the message.

    Raises:
      ModuleNotFoundError: a module is not installed, with what to install.

    Example:
      >>> with extra("plots", "`plot_grid`"):
      ...     import a_package_nobody_has.its_module
      Traceback (most recent call last):
      ...
      ModuleNotFoundError: `plot_grid` needs `a_package_nobody_has`, which is not
      installed. Install it with: pip install "auxjax[plots]"
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise absent(error, name, wanted) from error


def require(module: str, name: str, wanted: str) -> ModuleType:
    """Imports a module of an optional dependency, or says how to install it.

    Args:
      module: its dotted name.
      name: the extra of this package that brings it.
      wanted: what needs it, for the message.

    Returns:
      The module.

    Raises:
      ModuleNotFoundError: it, or something it imports, is not installed.
    """
    with extra(name, wanted):
        return importlib.import_module(module)


def absent(error: ImportError, name: str, wanted: str) -> ModuleNotFoundError:
    """The error that says what to install, made from what the import raised."""
    package = (error.name or str(error)).partition(".")[0]
    return ModuleNotFoundError(
        f"{wanted} needs `{package}`, which is not installed. "
        f'Install it with: pip install "auxjax[{name}]"',
        name=error.name,
    )
