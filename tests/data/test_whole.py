"""Files that are whole or not there, also where the writing is killed."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from auxjax.data import _whole
from auxjax.data._whole import whole_file


def write(path, content=b"all of it"):
    with whole_file(path) as file:
        file.write(content)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o007, 0o660), (0, 0o666)])
def test_readable_as_the_umask_says(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        write(tmp_path / "a" / "b")
    finally:
        os.umask(before)
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == mode
    assert names(tmp_path / "a") == ["b"]


def test_there_only_when_it_is_whole(tmp_path):
    path = tmp_path / "x"
    write(path, b"before")
    with whole_file(path) as file:
        file.write(b"after")
        file.flush()
        assert path.read_bytes() == b"before"
    assert path.read_bytes() == b"after"


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_error_leaves_nothing_behind(tmp_path, error):
    write(tmp_path / "x", b"before")

    def fail():
        with whole_file(tmp_path / "x") as file:
            file.write(b"half of it")
            raise error

    with pytest.raises(error):
        fail()
    assert names(tmp_path) == ["x"]
    assert (tmp_path / "x").read_bytes() == b"before"


CHILD = """
import importlib.util, pathlib, sys, time
spec = importlib.util.spec_from_file_location("whole", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
with module.whole_file(pathlib.Path(sys.argv[2])) as file:
    file.write(b"half of it")
    file.flush()
    print("writing", flush=True)
    time.sleep(600)
"""


def test_what_a_killed_process_leaves_is_swept_and_no_living_ones(tmp_path):
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, _whole.__file__, str(tmp_path / "theirs")],
        stdout=subprocess.PIPE,
    )
    try:
        assert child.stdout.readline() == b"writing\n"
        (partial,) = names(tmp_path)
        assert Path(partial).match("tmp*.partial")
        with whole_file(tmp_path / "outer") as file:  # this process lives, too
            write(tmp_path / "ours")
            file.write(b"still here")
        assert names(tmp_path) == ["ours", "outer", partial]
        assert (tmp_path / partial).read_bytes() == b"half of it"
        child.terminate()
        child.wait()
        assert names(tmp_path) == ["ours", "outer", partial]
        write(tmp_path / "ours")
        assert names(tmp_path) == ["ours", "outer"]
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def test_what_is_swept(tmp_path):
    """What former versions left, too, and nothing else."""
    for name in ("tmpabc.partial", "tmp_x1.part"):
        (tmp_path / name).write_bytes(b"half")
    others = ["film.partial", "tmp.npy", "tmpabc.partial.txt"]
    for name in others:
        (tmp_path / name).write_bytes(b"whole")
    (tmp_path / "tmpfolder.partial").mkdir()
    write(tmp_path / "x")
    assert names(tmp_path) == sorted([*others, "tmpfolder.partial", "x"])


def test_without_locks_nothing_is_swept_and_all_is_written(tmp_path, monkeypatch):
    """As on some network drives: who lives cannot be told there."""

    def no_locks(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    (tmp_path / "tmpabc.partial").write_bytes(b"half")
    monkeypatch.setattr(_whole.fcntl, "flock", no_locks)
    write(tmp_path / "x")
    assert names(tmp_path) == ["tmpabc.partial", "x"]


def test_a_file_taken_for_left_over_before_it_was_locked(tmp_path, monkeypatch):
    """Another process may sweep between the making and the locking: begin again."""
    lock, swept = _whole._lock, []

    def late(file):
        if not swept:
            swept.append(file.name)
            os.unlink(file.name)
        return lock(file)

    monkeypatch.setattr(_whole, "_lock", late)
    write(tmp_path / "x")
    assert len(swept) == 1
    assert names(tmp_path) == ["x"]
    assert (tmp_path / "x").read_bytes() == b"all of it"
