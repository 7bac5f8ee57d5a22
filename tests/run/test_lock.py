"""One process per run folder, whatever becomes of the process."""

import os
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import pytest

from auxjax import run
from auxjax.run import _lock

PREAMBLE = """
import sys, os, time
from pathlib import Path
from auxjax import run
"""


def start(program, *words):
    return subprocess.Popen(
        [sys.executable, "-c", PREAMBLE + textwrap.dedent(program), *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


RACE = """
folder, number, gate = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
(gate / f"ready{number}").touch()
while len(list(gate.iterdir())) < 3:  # until all of them stand at the start
    time.sleep(0.001)
with run.plain_errors():
    opened = run.open_run(folder, {"seed": 0}, resume=True)
    with run.MetricsWriter(opened.metrics) as metrics:
        for step in range(50):
            metrics.write({"step": step, "writer": number})
    while len(list(gate.iterdir())) < 5:  # until the two others were refused
        time.sleep(0.001)
"""


def test_of_three_processes_one_has_the_folder(tmp_path):
    gate = tmp_path / "gate"
    gate.mkdir()

    def compete(number):
        process = start(RACE, tmp_path / "run", number, gate)
        said = process.communicate(timeout=120)[1]
        (gate / f"done{number}").touch()
        return process.returncode, said

    with ThreadPoolExecutor(3) as pool:
        ends = list(pool.map(compete, range(3)))
    codes = [code for code, _ in ends]
    assert sorted(codes) == [0, 2, 2], ends
    for code, said in ends:
        if code:
            assert "should be used by one process at a time" in said
            assert "Traceback" not in said
    rows = run.read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert rows == [{"step": step, "writer": codes.index(0)} for step in range(50)]
    run.open_run(tmp_path / "run", {"seed": 0}, resume=True)  # it is free again


HOLD = """
run.open_run(sys.argv[1], {"seed": 0})
if "fork" in sys.argv:  # as a data loader's worker, which may outlive a killed parent
    if not os.fork():
        time.sleep(60)
print("held", flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("how", ["alone", "fork"])
def test_a_killed_process_leaves_no_lock(tmp_path, how):
    process = start(HOLD, tmp_path / "run", how)
    assert process.stdout.readline() == "held\n"
    with pytest.raises(run.RunError, match="Found another one at work in it"):
        run.open_run(tmp_path / "run", {"seed": 0}, resume=True)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    process.stdout.close()
    process.stderr.close()
    run.open_run(tmp_path / "run", {"seed": 0}, resume=True)


def test_the_same_process_may_open_it_again(tmp_path):
    run.open_run(tmp_path, {"seed": 0})
    run.open_run(tmp_path, {"seed": 0}, resume=True)
    assert [item.name for item in tmp_path.iterdir()] == ["config.json"]


@pytest.fixture
def without_flock(monkeypatch):
    monkeypatch.setattr(_lock, "fcntl", None)
    monkeypatch.setattr(_lock, "msvcrt", None)
    monkeypatch.setattr(_lock, "_HELD", {})
    return _lock.platform.node()


def test_where_the_system_has_no_locks_a_file_names_the_process(
    tmp_path, without_flock
):
    run.open_run(tmp_path, {"seed": 0})
    text = (tmp_path / ".lock").read_text()
    assert text == f"{without_flock} {os.getpid()}"
    run.open_run(tmp_path, {"seed": 0}, resume=True)


@pytest.mark.parametrize("other", ["{node} 1", "elsewhere 12345", "{node} "])
def test_a_file_of_a_process_that_may_be_alive(tmp_path, without_flock, other):
    """Process 1 always is; of another machine nobody knows; a file may be half done."""
    (tmp_path / ".lock").write_text(other.format(node=without_flock))
    with pytest.raises(run.RunError, match="Found another one at work in it"):
        run.open_run(tmp_path, {"seed": 0})


def test_a_file_of_a_process_that_is_gone(tmp_path, without_flock):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(60)
    (tmp_path / ".lock").write_text(f"{without_flock} {gone.pid}")
    run.open_run(tmp_path, {"seed": 0})
    assert str(os.getpid()) in (tmp_path / ".lock").read_text()


def test_new_folders_for_all_who_ask_at_once(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: run.new_folder(tmp_path / "a" / "x"), range(8)))
    names = {"x", *(f"x-{number}" for number in range(2, 9))}
    assert {folder.name for folder in found} == names
    assert {item.name for item in (tmp_path / "a").iterdir()} == names


def test_a_new_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(run.RunError, match=r"file/run` should be writable"):
        run.new_folder(tmp_path / "file" / "run")
