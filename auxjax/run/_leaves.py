"""A pytree as named host arrays and back, PRNG keys among them, bit for bit."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from auxjax._types import PyTree

_NUMBERS = (bool, int, float, complex)


def describe(state: PyTree) -> list[list[str | None]]:
    """One `[path, kind, key implementation]` a leaf, in JSON's types.

    Raises:
      ValueError: a leaf is neither an array, a number nor a typed PRNG key.

    Example:
      >>> describe({"key": jax.random.key(0), "w": jnp.zeros((2, 3))})
      [["['key']", 'key<fry>[]', 'threefry2x32'], ["['w']", 'float32[2,3]', None]]
    """
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return [[jax.tree_util.keystr(p) or "()", *_kind(p, x)] for p, x in leaves]


def to_host(state: PyTree) -> dict[str, np.ndarray]:
    """The leaves as numpy arrays, keyed by their place; those of no size left out."""
    leaves = [_key_data(x) for x in jax.tree.leaves(state)]
    arrays = [np.asarray(x) for x in jax.device_get(leaves)]
    return {_name(i): array for i, array in enumerate(arrays) if array.size}


def from_host(
    arrays: dict[str, np.ndarray], like: PyTree, saved: list[list[str | None]]
) -> PyTree:
    """Undoes `to_host`: the leaves' types and places are those of `like`."""
    leaves, treedef = jax.tree.flatten(like)
    values = [
        _to_device(arrays.get(_name(i)), x, impl)
        for i, (x, (_, _, impl)) in enumerate(zip(leaves, saved, strict=True))
    ]
    return jax.tree.unflatten(treedef, values)


def mismatch(saved: list[list[str | None]], like: PyTree) -> str | None:
    """What is wrong with the first leaf of `like` that the saved ones do not fit."""
    wanted = describe(like)
    for (path, kind, _), (found_path, found, _) in zip(wanted, saved, strict=False):
        if path != found_path:
            return f"The next leaf should be `{path}`. Found `{found_path}`."
        if kind != found:
            return f"`{path}` should be {kind}. Found {found}."
    if len(wanted) > len(saved):
        return f"`{wanted[len(saved)][0]}` should be there. Found nothing."
    if len(wanted) < len(saved):
        return f"The state should have no more leaves. Found `{saved[len(wanted)][0]}`."
    return None


def without_weak_types(state: PyTree) -> PyTree:
    """The state with every leaf's dtype held fast, as a checkpoint returns it.

    A weakly typed `jnp.asarray(1.0)` gives way to the dtype of whatever it meets. A
    checkpoint cannot keep that, so a run that resumes would compute with other dtypes.
    """
    return jax.tree.map(
        lambda x: jnp.asarray(x, x.dtype) if getattr(x, "weak_type", False) else x,
        state,
    )


def _name(index: int) -> str:
    return f"{index:05d}"


def _is_key(leaf: Any) -> bool:
    dtype = getattr(leaf, "dtype", None)
    return dtype is not None and jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key)


def _key_data(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _kind(path: Any, leaf: Any) -> tuple[str, str | None]:
    if isinstance(leaf, _NUMBERS) and not isinstance(leaf, np.generic):
        return type(leaf).__name__, None
    dtype = getattr(leaf, "dtype", None)
    if dtype is None or getattr(dtype, "kind", "") in tuple("OSUM"):
        raise ValueError(
            f"`{jax.tree_util.keystr(path)}` should be an array, a number or a typed "
            f"PRNG key. Found {type(leaf).__name__}."
        )
    kind = f"{dtype}[{','.join(map(str, leaf.shape))}]"
    # A `jax.ShapeDtypeStruct` does not know its implementation; the saved key does.
    known = isinstance(leaf, jax.Array) and _is_key(leaf)
    return kind, str(jax.random.key_impl(leaf)) if known else None


def _empty(like: Any, impl: str | None) -> np.ndarray:
    """What `to_host` left out: an array of no size, or the data of no keys."""
    if not _is_key(like):
        return np.zeros(like.shape, like.dtype)
    one = jax.random.key_data(jax.random.key(0, impl=impl))
    return np.zeros((*like.shape, *one.shape), one.dtype)


def _to_device(value: np.ndarray | None, like: Any, impl: str | None) -> Any:
    value = _empty(like, impl) if value is None else value
    if isinstance(like, _NUMBERS) and not isinstance(like, np.generic):
        return type(like)(value.item())
    if isinstance(like, (np.ndarray, np.generic)):
        return value if isinstance(like, np.ndarray) else value[()]
    array = jnp.asarray(value)
    if _is_key(like):
        array = jax.random.wrap_key_data(array, impl=impl)
    # Pinned to a device only where the state was: other arrays may move freely.
    placed = getattr(like, "committed", like.sharding is not None)
    return jax.device_put(array, like.sharding) if placed else array
