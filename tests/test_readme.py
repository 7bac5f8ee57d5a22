"""The README's example runs as it stands there."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp

README = Path(__file__).parents[1] / "README.md"


def test_the_readmes_example_runs():
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    names = {}
    with jax.numpy_dtype_promotion("standard"):  # for Optax's Adam
        exec(compile(code, "README.md", "exec"), names)
    assert names["values"].shape == (2,)
    assert bool(jnp.isfinite(names["values"]).all())
