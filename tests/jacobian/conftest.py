"""A small MLP with one head per task, and its Jacobian by NumPy in float64."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

NAMES = ("zebra", "apple", "mango", "kiwi")  # on purpose not in alphabetical order


def flat(tree, leading=()):
    """A pytree as one float64 array `[*leading, P]`, leaves in JAX's order."""
    leaves = [np.asarray(x, np.float64) for x in jax.tree.leaves(tree)]
    return np.concatenate([x.reshape(*leading, -1) for x in leaves], axis=-1)


def forms():
    """The ways in which a loss function may hand over its losses."""

    def head(z, weights, y):
        return jnp.mean((z @ weights - y) ** 2)

    def apart(params, x, y):
        z = jnp.tanh(x @ params["w"] + params["b"][None])
        heads = params["heads"]
        return tuple(head(z, h, y[i]) for i, h in enumerate(heads))

    def named(params, x, y):
        return dict(zip(NAMES, apart(params, x, y), strict=False))

    def vmapped(params, x, y):
        z = jnp.tanh(x @ params["w"] + params["b"][None])
        return jax.vmap(head, (None, 0, 0))(z, params["heads"], y)

    return {
        "dict": named,
        "jitted dict": jax.jit(named),
        "tuple": apart,
        "list": lambda *args: list(apart(*args)),
        "stacked": lambda *args: jnp.stack(apart(*args)),
        "vmapped": vmapped,
    }


@dataclasses.dataclass
class MLP:
    """`tanh(x W + b)`, then a linear head and a mean squared error per task."""

    num_tasks: int
    size: int = 4

    def __post_init__(self):
        rng = np.random.default_rng(self.num_tasks)
        t, h = self.num_tasks, self.size
        self.w, self.b = rng.normal(size=(3, h)), rng.normal(size=h)
        self.heads = rng.normal(size=(t, h))
        self.x, self.y = rng.normal(size=(5, 3)), rng.normal(size=(t, 5))
        self.weights, self.first, self.second = rng.normal(size=(3, t))
        self.direction = rng.normal(size=h + t * h + 3 * h)

    def params(self, form, dtype="float32"):
        heads = self.heads if form == "vmapped" else list(self.heads)
        tree = {"w": self.w, "b": self.b, "heads": heads}
        return jax.tree.map(lambda x: jnp.asarray(x, dtype), tree)

    def data(self, dtype="float32"):
        return jnp.asarray(self.x, dtype), jnp.asarray(self.y, dtype)

    def like_params(self, vector, params):
        """A flat vector as a pytree like the parameters."""
        leaves, treedef = jax.tree.flatten(params)
        ends = np.cumsum([x.size for x in leaves])[:-1]
        parts = zip(np.split(vector, ends), leaves, strict=True)
        new = [jnp.asarray(v.reshape(x.shape), x.dtype) for v, x in parts]
        return jax.tree.unflatten(treedef, new)

    def columns(self, b, heads, w):
        """A flat `where`: one bool an entry of the flat parameters."""
        h = self.size
        return np.repeat([b, heads, w], [h, self.num_tasks * h, 3 * h])

    def reference(self):
        """The losses `[T]` and the Jacobian `[T, P]`, by hand."""
        z = np.tanh(self.x @ self.w + self.b)
        values, rows = [], []
        for i, head in enumerate(self.heads):
            error = z @ head - self.y[i]
            values.append(np.mean(error**2))
            d_out = 2 * error / len(error)
            d_pre = np.outer(d_out, head) * (1 - z**2)
            d_heads = np.zeros_like(self.heads)
            d_heads[i] = z.T @ d_out
            d_w, d_b = self.x.T @ d_pre, d_pre.sum(0)
            rows.append(np.concatenate([d_b, d_heads.ravel(), d_w.ravel()]))
        return np.array(values), np.array(rows)


@pytest.fixture(scope="session")
def mlp():
    return MLP


@pytest.fixture(scope="session")
def losses():
    return forms()


@pytest.fixture(scope="session")
def flatten():
    return flat
