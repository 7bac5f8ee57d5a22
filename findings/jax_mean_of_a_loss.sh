#!/usr/bin/env bash
# One assumes: a loss that is averaged over the devices inside of the differentiated
# function has the averaged gradient, under `jax.pmap` as under `jax.shard_map`.
# What happens (jax 0.10.2): `shard_map` as it comes (check_vma=True) returns the gradient
# of the mean. `pmap` and `shard_map(check_vma=False)` return each device's *local*
# gradient, with no warning, though the loss that they return is the averaged one: the
# transpose of a `pmean` is that `pmean` again, of cotangents that are 1 everywhere. A
# `pmean` of the parameters, inside too, repairs it.
# Source: docs of `jax.shard_map` on `check_vma`; run on 2 host devices of a CPU.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
export JAX_PLATFORMS=cpu XLA_FLAGS=--xla_force_host_platform_device_count=2
"$folder/venv/bin/python" - <<'PY'
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec as P

x = jnp.array([1.0, 3.0])  # one number a device; the gradient of mean(w x) is 2


def gradient(average_parameters):
    def loss(w, x):
        w = jax.lax.pmean(w, "data") if average_parameters else w
        return jax.lax.pmean(jnp.mean(w * x), "data")

    def local(w, x):
        value, slope = jax.value_and_grad(loss)(w, x)
        return value[None], slope[None]

    return local


mesh = Mesh(np.array(jax.devices()), ("data",))
print("jax", jax.__version__)
found = {}
for average in (False, True):
    for check in (True, False):
        f = jax.shard_map(gradient(average), mesh=mesh, in_specs=(P(), P("data")),
                          out_specs=P("data"), check_vma=check)
        found["shard_map", check, average] = f(jnp.float32(1), x)
    f = jax.pmap(gradient(average), axis_name="data", in_axes=(None, 0))
    found["pmap", None, average] = jax.tree.map(jnp.ravel, f(jnp.float32(1), x))
for (how, check, average), (values, slopes) in found.items():
    print(f"{how:9} check_vma={check!s:5} parameters averaged={average!s:5} "
          f"losses {values} gradients {slopes}")
    assert values.tolist() == [2, 2]
    is_local = not average and not check
    assert slopes.tolist() == ([1, 3] if is_local else [2, 2])
PY
