"""Strict numerics for every test, eight host devices, and one compilation cache."""

import gc
import itertools
import os
import tempfile
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = (
        os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    ).strip()
os.environ.setdefault("MPLBACKEND", "Agg")

from jaxtyping import install_import_hook

# Must stand before the first import of auxjax: every annotated function is wrapped.
install_import_hook("auxjax", "beartype.beartype")

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update(
    "jax_compilation_cache_dir",
    os.environ.get(
        "AUXJAX_TEST_CACHE", str(Path(tempfile.gettempdir()) / "auxjax-test-cache")
    ),
)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


MANY_MAPPINGS = 30_000  # Linux allows 65,530 per process, then LLVM kills it.
EVERY = 20  # tests; one makes some two hundred mappings, and to count them takes 20 ms
tests_run = itertools.count(1)


@pytest.fixture(autouse=True)
def few_mappings():
    """Forget compiled functions before they exhaust the process's memory mappings."""
    yield
    if next(tests_run) % EVERY:
        return
    try:
        mappings = Path("/proc/self/maps").read_bytes().count(b"\n")
    except OSError:  # no Linux, no such limit
        return
    if mappings > MANY_MAPPINGS:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def x64():
    """Float64 for one test."""
    with jax.enable_x64(True):
        yield
