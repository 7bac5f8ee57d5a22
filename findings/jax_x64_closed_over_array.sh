#!/usr/bin/env bash
# One assumes: under `with jax.enable_x64(True)` a NumPy float64 array that a function
# closes over enters its program in float64, as its arguments do.
# What happens (jax 0.10.2 and 0.12.0.1): what the array was made into first is kept for as long as any
# program that holds it, whatever the mode. If the function was traced once without x64,
# later traces with it get the float32 values, silently widened: 1/3 is off by 1e-8. Even
# `jnp.asarray(array)` outside of any function is float32 then, and, the other way round,
# float64 in a program without x64. A copy of the array, or `jnp.asarray(array, dtype)`
# with the dtype said, is not affected.
# Source: `_canonicalize_ndarray_dtype` in jax/_src/abstract_arrays.py, a cache with the
# array alone as its key.
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

print("jax", jax.__version__)
third = np.full(3, 1 / 3)


def product(convert):
    return jax.jit(lambda x: x * convert(x.dtype))


ways = {
    "asarray(a).astype(dtype)": lambda dtype: jnp.asarray(third).astype(dtype),
    "asarray(a, dtype)": lambda dtype: jnp.asarray(third, dtype),
    "asarray(a.copy())": lambda dtype: jnp.asarray(third.copy()).astype(dtype),
}
programs = {name: product(convert) for name, convert in ways.items()}
for program in programs.values():
    program(jnp.ones(3, "float32"))
with jax.enable_x64(True):
    off = {name: float(abs(program(jnp.ones(3, "float64"))[0] - 1 / 3))
           for name, program in programs.items()}
    eager = jnp.asarray(third).dtype
for name, error in off.items():
    print(f"{name:26} float64 in, off by {error:.1e}")
print("jnp.asarray(a) with x64:", eager)
assert 1e-9 < off.pop("asarray(a).astype(dtype)") < 1e-7
assert set(off.values()) == {0.0}
assert eager == "float32"
PY
