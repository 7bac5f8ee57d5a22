"""The machine and the code that made a result."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
from pathlib import Path

import jax


def machine() -> dict[str, str | int]:
    """What a reader needs to judge a speed; nothing that tells whose machine it was.

    Returns:
      The processor's model, the cores this process may use, the device's kind and
      number, the versions of Python and JAX, the operating system, and the git commit
      of auxjax where it runs from its repository ("-dirty" after it where files were
      changed), as it was when `parse` or this function was first called: a program runs
      the code it began with.

    Example:
      >>> machine()["jax"] == jax.__version__
      True
    """
    devices = jax.devices()
    facts: dict[str, str | int] = {
        "cpu": _cpu_model(),
        "cores": _cores(),
        "device": devices[0].device_kind,
        "devices": len(devices),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "system": platform.system(),
    }
    commit = first_commit()
    return facts if commit is None else {**facts, "commit": commit}


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2] for line in lines if line.startswith("model name")]
    return names[0].strip() if names else platform.processor() or platform.machine()


def _cores() -> int:
    # A container may allow fewer than the machine has.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.cache
def first_commit() -> str | None:
    """The commit when this was first called; None outside of a repository."""
    return _commit()


def _commit() -> str | None:
    here = Path(__file__)
    # An installed copy may lie inside somebody else's repository: ask for this file.
    if _git(here.parent, "ls-files", "--error-unmatch", here.name) is None:
        return None
    return _git(here.parent, "describe", "--always", "--dirty", "--exclude=*")


def _git(folder: Path, *words: str) -> str | None:
    # Reading only: `describe` would else refresh the index beside somebody's commit.
    command = ["git", "--no-optional-locks", "-C", str(folder), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
