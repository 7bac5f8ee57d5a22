"""AuxiLearn's function of the losses: linear, or a small monotone network."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from auxjax._optax import with_mixed_dtypes
from auxjax.weighting._build import move


def total(network: Any, values: jax.Array) -> jax.Array:
    """F as a function of the losses."""
    if isinstance(network, jax.Array):
        return jnp.sum(network.at[0].set(1) * values)
    x = values
    for number, (weight, bias) in enumerate(network):
        x = jax.nn.softplus(x) if number else x
        x = jnp.matmul(weight, x, precision="highest") + bias
    return values[0] + x[0]


def slopes(network: Any, values: jax.Array) -> jax.Array:
    """∂F/∂L `[T]`."""
    return jax.grad(total, argnums=1)(network, values)


def first_layers(key: jax.Array, widths: Sequence[int], dtype: Any) -> list[Any]:
    """Positive weights that keep the size of what goes in; no bias at the end."""
    layers = []
    for number, (fan_in, width) in enumerate(itertools.pairwise(widths)):
        now, shape = jax.random.fold_in(key, number), (width, fan_in)
        weight = jax.random.uniform(now, shape, dtype, maxval=2 / fan_in)
        layers.append((weight, jnp.zeros(width, dtype)))
    return layers


def monotone(network: Any) -> Any:
    """No weight below 0: F falls with every loss. Biases are free."""
    if isinstance(network, jax.Array):
        return jnp.maximum(network, 0).at[0].set(1)
    return [(jnp.maximum(weight, 0), bias) for weight, bias in network]


def step(
    learn: optax.GradientTransformation,
    slope: Any,
    network: Any,
    state: Any,
    counted: jax.Array,
) -> tuple[Any, Any]:
    """φ and its optimizer's state, one step on; one that is not finite is not made."""
    if isinstance(network, jax.Array):
        among = counted.at[0].set(False)  # the main task's is 1
        phi, state, _ = move(learn, slope, state, network, among)
        return monotone(phi), state
    moves, new_state = with_mixed_dtypes(learn).update(slope, state, network)
    after = (monotone(optax.apply_updates(network, moves)), new_state)
    keep = jnp.all(
        jnp.stack([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(after)])
    )
    before = (network, state)
    return jax.tree.map(lambda a, b: jnp.where(keep, a, b), after, before)
