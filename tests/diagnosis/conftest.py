"""Losses whose gradients can be written down: half squared distances to moving targets.

L_i = sizeᵢ/2 ‖w − Mᵢ x‖² + headᵢ²/2        ∇_w L_i = sizeᵢ (w − Mᵢ x)
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

D = 6


@dataclasses.dataclass
class Problem:
    num_tasks: int
    batches: int = 12

    def __post_init__(self):
        rng = np.random.default_rng(self.num_tasks)
        self.w = rng.normal(size=D)
        self.heads = rng.normal(size=self.num_tasks)
        self.targets = rng.normal(size=(self.num_tasks, D, D)) / 2
        self.sizes = rng.uniform(0.5, 2.0, size=self.num_tasks)
        self.x = rng.normal(size=(self.batches, D))
        self.names = ("zebra", *(f"aux{i}" for i in range(self.num_tasks - 1)))

    def params(self, dtype="float64"):
        heads = [jnp.asarray(h, dtype) for h in self.heads]
        return {"heads": heads, "w": jnp.asarray(self.w, dtype)}

    def losses(self, params, x):
        dtype = params["w"].dtype
        found = {}
        for i, name in enumerate(self.names):
            target = jnp.asarray(self.targets[i], dtype) @ x.astype(dtype)
            size = jnp.asarray(self.sizes[i] / 2, dtype)
            far = jnp.sum((params["w"] - target) ** 2)
            found[name] = size * far + params["heads"][i] ** 2 / 2
        return found

    # The reference, in NumPy.

    def losses_at(self, w, x):
        far = w - self.targets @ x  # [T, D]
        return self.sizes / 2 * (far**2).sum(1) + self.heads**2 / 2

    def rows(self, x):
        """`[T, D]`, the gradients in w."""
        return self.sizes[:, None] * (self.w - self.targets @ x)


@pytest.fixture
def four(x64):
    return Problem(4)
