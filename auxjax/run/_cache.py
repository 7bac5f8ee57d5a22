"""Compiled programs on disk, so that the second start of a run is quick."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import jax


def use_compilation_cache(path: str | Path | None = None) -> Path | None:
    """Keeps compiled programs on disk between processes.

    Call it from a script's `main`, before anything is compiled. A folder that was set
    before, by `JAX_COMPILATION_CACHE_DIR` or by hand, stays.

    Args:
      path: the folder; by default `xla` in `AUXJAX_CACHE`, or in `~/.cache/auxjax`.

    Returns:
      The folder, or None if it cannot be made or written, or if there is no home
      directory to make it in: then nothing is cached.

    Example:
      >>> use_compilation_cache() is None  # here there is a folder for it
      False
    """
    config: Any = jax.config
    if config.jax_compilation_cache_dir:
        return Path(config.jax_compilation_cache_dir)
    root = os.environ.get("AUXJAX_CACHE", "~/.cache/auxjax")
    try:
        folder = Path(path or Path(root) / "xla").expanduser()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # the latter: nobody knows where home is
        return None
    if not os.access(folder, os.W_OK | os.X_OK):
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)
    return folder
