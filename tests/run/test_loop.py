import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from auxjax import run
from auxjax.run import _checkpoint, _loop, _metrics

SCRIPT = Path(__file__).with_name("toy_run.py")


def assert_same(path, state, whole):
    expected, metrics = whole
    assert (path / "metrics.jsonl").read_bytes() == metrics
    pairs = zip(jax.tree.leaves(state), jax.tree.leaves(expected), strict=True)
    for found, wanted in pairs:
        assert found.dtype == wanted.dtype
        if jax.dtypes.issubdtype(found.dtype, jax.dtypes.prng_key):
            found, wanted = jax.random.key_data(found), jax.random.key_data(wanted)
        assert np.asarray(found).tobytes() == np.asarray(wanted).tobytes()


def test_a_whole_run(toy, whole, tmp_path):
    state = toy.go(tmp_path / "run")
    assert_same(tmp_path / "run", state, whole)
    rows = run.read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(1, 41))
    assert len({row["loss"] for row in rows}) == 40
    folders = {item.name for item in (tmp_path / "run" / "checkpoint").iterdir()}
    assert folders == {"30", "40"}


@pytest.mark.parametrize("chunk", [0, 1, 2, 5, 7])
def test_an_exception_then_resumed(toy, whole, tmp_path, chunk):
    def fail():
        raise ArithmeticError("by chance")

    with pytest.raises(ArithmeticError):
        toy.go(tmp_path, report=toy.disturbed_report(fail, chunk))
    written = run.read_metrics(tmp_path / "metrics.jsonl")
    assert len(written) == 5 * chunk
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 9')
    state = toy.go(tmp_path, resume=True)
    assert_same(tmp_path, state, whole)


@pytest.mark.parametrize(
    ("name", "code", "saved"), [("SIGTERM", 130, 20), ("SIGKILL", -9, 10)]
)
def test_a_killed_program_then_resumed(toy, whole, tmp_path, name, code, saved):
    command = [sys.executable, str(SCRIPT), str(tmp_path), name, "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stderr
    assert ("resume with --resume" in done.stderr) == (name == "SIGTERM")
    assert "Traceback" not in done.stderr
    assert run.last_checkpoint(tmp_path / "checkpoint").name == str(saved)
    state = toy.go(tmp_path, resume=True)
    assert_same(tmp_path, state, whole)


def test_ctrl_c_finishes_the_chunk(toy, whole, tmp_path, capsys):
    before = signal.getsignal(signal.SIGINT)
    press = toy.disturbed_report(lambda: signal.raise_signal(signal.SIGINT), 2)
    with pytest.raises(SystemExit) as stopped:
        toy.go(tmp_path, report=press)
    assert stopped.value.code == 130
    assert "Stopped at step 15; resume with --resume" in capsys.readouterr().err
    assert len(run.read_metrics(tmp_path / "metrics.jsonl")) == 15
    assert signal.getsignal(signal.SIGINT) is before
    assert_same(tmp_path, toy.go(tmp_path, resume=True), whole)


def test_ctrl_c_twice_stops_at_once(toy, whole, tmp_path, capsys):
    def press_twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(SystemExit) as stopped:
        toy.go(tmp_path, report=toy.disturbed_report(press_twice, 3))
    assert stopped.value.code == 130
    assert "Stopped at step 10" in capsys.readouterr().err
    assert_same(tmp_path, toy.go(tmp_path, resume=True), whole)


def test_ctrl_c_in_a_host_callback(toy, whole, tmp_path, capsys):
    """JAX makes an error of its own of it."""

    def press_twice(state):
        if int(toy.step_of(state)) == 15:
            signal.raise_signal(signal.SIGINT)
            raise jax.errors.JaxRuntimeError("INTERNAL: KeyboardInterrupt")
        return toy.advance(state)

    with pytest.raises(SystemExit) as stopped:
        toy.go(tmp_path, advance=press_twice)
    assert stopped.value.code == 130
    assert "Stopped at step 10" in capsys.readouterr().err
    assert_same(tmp_path, toy.go(tmp_path, resume=True), whole)


def test_another_error_of_jax_is_not_ctrl_c(toy, tmp_path):
    def fail(state):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED")

    with pytest.raises(jax.errors.JaxRuntimeError, match="EXHAUSTED"):
        toy.go(tmp_path, advance=fail)


@pytest.mark.parametrize("damage", [b"", b'{"step": 10, "lo', b'{"st\xffp": 10}\n'])
def test_a_damaged_last_row_is_written_again(toy, whole, tmp_path, damage):
    toy.go(tmp_path, num_chunks=2)
    path = tmp_path / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == 10
    path.write_bytes(b"".join(lines[:-1]) + damage)
    assert_same(tmp_path, toy.go(tmp_path, resume=True), whole)


def test_a_checkpoint_of_a_version_that_kept_no_rows(toy, whole, tmp_path, monkeypatch):
    def save(folder, step, state, note):
        _checkpoint.save(folder, step, state, note={"chunk": note["chunk"]})

    with monkeypatch.context() as patch:
        patch.setattr("auxjax.run._loop.save", save)
        toy.go(tmp_path, num_chunks=3)
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 16}\n{"step": 1')
    assert_same(tmp_path, toy.go(tmp_path, resume=True), whole)


def test_numbers_of_numpy_are_numbers(toy, whole, tmp_path):
    numbers = {"num_chunks": np.int64(8), "checkpoint_every": np.int32(2)}
    assert_same(tmp_path, toy.go(tmp_path, **numbers), whole)


def test_ctrl_c_while_the_last_state_is_saved_stops_too(
    toy, whole, tmp_path, monkeypatch
):
    save = _loop.save

    def press(folder, step, *args, **options):
        save(folder, step, *args, **options)
        if step == 40:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(_loop, "save", press)
        with pytest.raises(SystemExit) as stopped:
            toy.go(tmp_path)
    assert stopped.value.code == 130
    assert_same(tmp_path, toy.go(tmp_path, resume=True), whole)


def test_ctrl_c_in_the_last_chunk_stops_too(toy, whole, tmp_path):
    """Else a script with several runs would go on with the next one."""
    press = toy.disturbed_report(lambda: signal.raise_signal(signal.SIGINT), 7)
    with pytest.raises(SystemExit) as stopped:
        toy.go(tmp_path, report=press)
    assert stopped.value.code == 130
    assert_same(tmp_path, toy.go(tmp_path, resume=True), whole)


def test_a_finished_run_is_not_run_again(toy, whole, tmp_path):
    toy.go(tmp_path)

    def never(state):
        raise AssertionError("nothing is left to do")

    assert_same(tmp_path, toy.go(tmp_path, resume=True, advance=never), whole)


def test_a_run_may_be_made_longer_but_not_shorter(toy, whole, tmp_path):
    toy.go(tmp_path, num_chunks=3)
    with pytest.raises(ValueError, match=r"`num_chunks`.*at least 3.*Found 2"):
        toy.go(tmp_path, resume=True, num_chunks=2)
    assert_same(tmp_path, toy.go(tmp_path, resume=True), whole)


def test_a_donated_state(toy, whole, tmp_path):
    donating = jax.jit(toy.advance.__wrapped__, donate_argnums=0)
    press = toy.disturbed_report(lambda: signal.raise_signal(signal.SIGINT), 4)
    with pytest.raises(SystemExit):
        toy.go(tmp_path, advance=donating, report=press)
    assert_same(tmp_path, toy.go(tmp_path, resume=True, advance=donating), whole)


def test_a_loss_that_is_not_finite(toy, tmp_path):
    def check(metrics):
        losses = np.array(metrics["loss"])[:, None]
        losses[metrics["step"] == 28] = np.nan
        return run.first_non_finite(losses, metrics["step"], ["main"])

    with pytest.raises(run.NonFiniteLoss) as caught:
        toy.go(tmp_path, check=check)
    error = caught.value
    assert (error.step, error.task) == (28, "main")
    assert np.isnan(error.value)
    checkpoint = tmp_path / "checkpoint" / "20"
    assert str(error) == (
        "The loss of `main` is nan at step 28. The last good checkpoint is of step 20: "
        f"{checkpoint}."
    )
    assert run.last_checkpoint(tmp_path / "checkpoint") == checkpoint
    assert len(run.read_metrics(tmp_path / "metrics.jsonl")) == 30


def test_a_loss_that_is_not_finite_before_any_checkpoint(toy, tmp_path):
    with pytest.raises(run.NonFiniteLoss, match="No checkpoint was saved before it"):
        toy.go(tmp_path, check=lambda metrics: (1, "flow", float("inf")))
    assert not (tmp_path / "checkpoint").exists()


def test_first_non_finite_is_the_earliest_over_seeds():
    losses = np.ones((2, 3, 2))
    assert run.first_non_finite(losses, [10, 20, 30], ["main", "flow"]) is None
    losses[0, 2, 0] = np.nan
    losses[1, 1, 1] = -np.inf
    found = run.first_non_finite(losses, [10, 20, 30], ["main", "flow"])
    assert found == (20, "flow", -np.inf)


def no_space(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_full_of_metrics(toy, whole, tmp_path, monkeypatch):
    true_append = _metrics._append

    def append(file, content):
        if b'"step": 23,' in content:
            true_append(file, content[:7])  # what still fits
            no_space()
        true_append(file, content)

    with monkeypatch.context() as patch:
        patch.setattr(_metrics, "_append", append)
        with pytest.raises(run.RunError) as caught:
            toy.go(tmp_path)
    assert str(tmp_path / "metrics.jsonl") in str(caught.value)
    assert "No space left on device" in str(caught.value)
    assert run.last_checkpoint(tmp_path / "checkpoint").name == "20"
    assert_same(tmp_path, toy.go(tmp_path, resume=True), whole)


def test_a_disk_full_of_checkpoints(toy, whole, tmp_path, monkeypatch):
    true_write = _checkpoint._write

    def fail(*_, **__):
        no_space()

    def write(path, arrays, meta):
        if path.name == "30":
            monkeypatch.setattr("orbax.checkpoint.Checkpointer.save", fail)
        true_write(path, arrays, meta)

    monkeypatch.setattr(_checkpoint, "_write", write)
    with pytest.raises(run.RunError, match=r"checkpoint/30.*No space left"):
        toy.go(tmp_path)
    monkeypatch.undo()
    assert run.last_checkpoint(tmp_path / "checkpoint").name == "20"
    assert_same(tmp_path, toy.go(tmp_path, resume=True), whole)


@pytest.mark.parametrize("name", ["num_chunks", "checkpoint_every"])
def test_counts(toy, tmp_path, name):
    with pytest.raises(ValueError, match=f"`{name}` should be at least 1. Found 0."):
        toy.go(tmp_path, **{name: 0})


@pytest.mark.parametrize("row", [{"step": 0}, {"step": 6}, {"loss": 1.0}])
def test_rows_outside_their_chunk(toy, tmp_path, row):
    with pytest.raises(ValueError, match=r"above 0 and at most 5"):
        toy.go(tmp_path, report=lambda metrics, chunk: ([row], ""))


def test_weak_types_do_not_change_a_resumed_run(tmp_path):
    # bfloat16 + a weak float32 is bfloat16; a strong one would make it float32.
    def advance(state):
        step, weak, half = state
        return (step + 1, weak, half * (1 + weak.astype(half.dtype))), {}

    def go(folder, num_chunks):
        folder = run.open_run(folder, {"seed": 0}, resume=folder.exists())
        seen = []

        def watched(state):
            seen.append([leaf.weak_type for leaf in state])
            return advance(state)

        run.run_chunks(
            state=(jnp.asarray(0), jnp.asarray(0.5), jnp.ones(2, jnp.bfloat16)),
            advance=watched,
            num_chunks=num_chunks,
            folder=folder,
            step_of=lambda state: state[0],
            report=lambda metrics, chunk: ([], ""),
            quiet=True,
        )
        return seen

    assert go(tmp_path / "run", 2) == 2 * [[False] * 3]
    assert go(tmp_path / "run", 3) == [[False] * 3]


def test_progress_is_shown(toy, tmp_path, capsys):
    toy.go(tmp_path, quiet=False, description="toy", unit="updates")
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("toy  100%  40/40 updates")
    assert lines[-1].endswith("w=[1, 0.5]")
