"""What the adapters share: names, late imports, third parties' looser arithmetic."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Iterator

import jax
import jax.numpy as jnp

from auxjax._types import PyTree


def check_name(name: str, known: Iterable[str], listed: str | None = None) -> None:
    """Refuses a name that is not known, and guesses what was meant.

    Args:
      name: The name that was asked for.
      known: The names there are.
      listed: How the message lists them, if not all in full.

    Raises:
      ValueError: If `name` is not among `known`.
    """
    known = tuple(known)
    if name in known:
        return
    plain = {other.lower(): other for other in known}
    close = difflib.get_close_matches(name.lower(), plain, n=1, cutoff=0.5)
    guess = f" Did you mean {plain[close[0]]!r}?" if close else ""
    raise ValueError(
        f"The environment should be one of {listed or ', '.join(known)}. "
        f"Found {name!r}.{guess}"
    )


@contextlib.contextmanager
def lenient() -> Iterator[None]:
    """Lets code that we did not write promote ranks and dtypes as it likes.

    And in 32 bits, which is what it was written for: some of it mixes widths where 64
    are switched on (gymnax's Freeway), or changes the type of its state.
    """
    with (
        jax.numpy_rank_promotion("allow"),
        jax.numpy_dtype_promotion("standard"),
        jax.enable_x64(False),
    ):
        yield


def strong(tree: PyTree) -> PyTree:
    """Python numbers and weakly typed arrays, as arrays of the dtype they have.

    A world that starts a counter at a Python `0` would otherwise change the type of
    its state at the first step, which costs a second compilation.

    Args:
      tree: Any pytree of arrays and numbers.

    Returns:
      The same as strongly typed arrays.
    """
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.asarray(leaf).dtype), tree)
