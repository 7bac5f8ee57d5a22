#!/usr/bin/env bash
# One assumes: a mask of bools that is turned into numbers and multiplied keeps a NaN or an
# infinity, as IEEE's 0 · NaN = NaN says, so that whoever looks for NaN behind it sees it.
# What happens (jax 0.10.2 and 0.12.0.1, CPU): so it is without `jit`; under `jit` XLA makes
# a choice of the product, `convert(pred) * x` to `select(pred, x, 0)`, and what is not
# finite is gone without a word, in gradients too. A mask that is numbers from the start
# keeps it. So a test without `jit` says nothing of the step that trains.
# Source: the optimised HLO, printed below; openxla/xla, algebraic simplifier.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
export JAX_PLATFORMS=cpu
"$folder/venv/bin/python" - <<'PY'
import jax
import jax.numpy as jnp
import numpy as np


def masked(x, mask):
    return mask.astype(x.dtype) * x


x = jnp.array([1.0, jnp.nan, jnp.inf])
bools = jnp.array([True, False, False])
eager, compiled = masked(x, bools), jax.jit(masked)(x, bools)
numbers = jax.jit(masked)(x, bools.astype(x.dtype))
print("jax", jax.__version__)
print("without jit          ", eager)
print("jit, a mask of bools ", compiled)
print("jit, a mask of floats", numbers)
text = jax.jit(masked).lower(x, bools).compile().as_text()
print([line.strip() for line in text.splitlines() if "select(" in line])
assert np.isnan(eager[1:]).all() and np.isnan(numbers[1:]).all()
assert compiled.tolist() == [1.0, 0.0, 0.0]
assert "select(" in text and "multiply(" not in text
PY
