"""How every script starts: its packages, Ctrl-C while they load, small runs.

It stands before all other imports, so it needs the standard library alone.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

CORE = ("jax", "optax", "chex", "auxjax")
RUN = ("orbax.checkpoint", "rich", "tyro")
PACKAGES = {
    "run": RUN,
    "rl": (*RUN, "flax", "gymnax"),
    "vision": (*RUN, "flax", "mlxtend", "PIL", "sklearn"),
    "plots": ("matplotlib",),
}
"""What a script imports of each extra of `pyproject.toml`, as Python names it."""

STOPPED = 130  # what a shell reports for a program ended by Ctrl-C


@contextlib.contextmanager
def needs(*extras: str) -> Iterator[None]:
    """For a script's imports: ends the program in one line where packages are missing.

    Args:
      extras: of `pyproject.toml`, what the script has to be installed with.

    Raises:
      SystemExit: with code 2, a package is missing; 130, Ctrl-C while it imports.
    """
    wanted = dict.fromkeys((*CORE, *(x for extra in extras for x in PACKAGES[extra])))
    missing = [name for name in wanted if not _is_there(name)]
    if missing:
        print(f"error: {_hint(missing, extras)}", file=sys.stderr)
        raise SystemExit(2)
    try:
        yield
    except (KeyboardInterrupt, ImportError) as error:
        # An import in C makes an ImportError of the Ctrl-C that it hears.
        heard = (error, error.__cause__, error.__context__)
        if not any(isinstance(each, KeyboardInterrupt) for each in heard):
            raise
        print("Stopped.", file=sys.stderr)
        raise SystemExit(STOPPED) from None


@contextlib.contextmanager
def quick_compilation(wanted: bool = True) -> Iterator[None]:
    """Compiles in a third of the time what is then slow to run: for `--smoke`."""
    import jax

    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", wanted or before)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)


def _is_there(name: str) -> bool:
    """Whether Python finds the module; only packages that it lies in are imported."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _hint(missing: list[str], extras: tuple[str, ...]) -> str:
    """The one wording."""
    script, root = Path(sys.argv[0]).name, Path(__file__).parents[2]
    said = (
        f"{script} needs packages that this Python has not ({', '.join(missing)}). "
        f'Install them: pip install -e ".[{",".join(extras)}]"'
    )
    venv = root / ".venv"
    if (venv / "bin" / "python").exists() and Path(sys.prefix) != venv:
        said += f", or start it with {venv.name}/bin/python"
    return said
