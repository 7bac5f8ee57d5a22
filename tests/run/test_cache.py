"""Compiled programs on disk."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from auxjax import run

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


@pytest.fixture
def no_cache():
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    jax.config.update("jax_compilation_cache_dir", before)


def test_without_a_home_there_is_no_cache(no_cache, monkeypatch):
    monkeypatch.delenv("AUXJAX_CACHE", raising=False)

    def nobody(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", nobody)
    assert run.use_compilation_cache() is None
    with pytest.raises(run.RunError, match=r"`~/runs` should be a folder.*no home"):
        run.open_run("~/runs", {"seed": 0})


def test_a_folder_that_cannot_be_written_means_no_cache(
    no_cache, tmp_path, monkeypatch
):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert run.use_compilation_cache(tmp_path / "xla") is None
