"""Compiled programs on disk."""

import os
import subprocess
import sys

SCRIPT = """
import jax, jax.numpy as jnp
from auxjax.run import use_compilation_cache
folder = use_compilation_cache()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((3, 3))).block_until_ready()
print(folder)
"""


def _run(cache, **more):
    env = {**os.environ, "AUXJAX_CACHE": str(cache), **more}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=env, check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    return done.stdout.strip()


def test_programs_are_kept_in_the_folder(tmp_path):
    assert _run(tmp_path) == str(tmp_path / "xla")
    assert any((tmp_path / "xla").iterdir())


def test_a_folder_set_before_stays(tmp_path):
    other = tmp_path / "other"
    found = _run(tmp_path / "ours", JAX_COMPILATION_CACHE_DIR=str(other))
    assert found == str(other)
    assert not (tmp_path / "ours").exists()


def test_a_folder_that_cannot_be_made_means_no_cache(tmp_path):
    (tmp_path / "file").write_text("")
    assert _run(tmp_path / "file") == "None"
