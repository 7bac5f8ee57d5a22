import errno
import json
import math
import os

import jax.numpy as jnp
import numpy as np
import pytest

from auxjax import run
from auxjax.run import _metrics


def test_rows_are_there_at_once(tmp_path):
    path = tmp_path / "metrics.jsonl"
    writer = run.MetricsWriter(path)
    writer.write({"step": 1, "loss": jnp.float32(0.5), "weights": np.ones(2)})
    assert path.read_text() == '{"step": 1, "loss": 0.5, "weights": [1.0, 1.0]}\n'
    writer.write({"step": np.int64(2), "loss": 0.25})
    assert [row["step"] for row in run.read_metrics(path)] == [1, 2]
    writer.close()
    writer.close()


def test_what_is_not_finite_stays_json(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with run.MetricsWriter(path) as writer:
        writer.write({"step": 1, "a": math.nan, "b": [math.inf, -math.inf]})

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    json.loads(path.read_text(), parse_constant=refuse)
    (row,) = run.read_metrics(path)
    assert math.isnan(row["a"])
    assert row["b"] == [math.inf, -math.inf]


def test_truncate_after(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with run.MetricsWriter(path) as writer:
        for step in (10, 20, 20, 30):
            writer.write({"step": step})
        before = path.read_bytes().splitlines(keepends=True)
        writer.truncate_after(20)
        assert path.read_bytes() == b"".join(before[:3])
        writer.write({"step": 21})
    assert [row["step"] for row in run.read_metrics(path)] == [10, 20, 20, 21]
    with run.MetricsWriter(path) as writer:
        writer.truncate_after(-1)
    assert path.read_bytes() == b""


def test_a_line_cut_short_is_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}')
    assert run.read_metrics(path) == [{"step": 1}]
    with run.MetricsWriter(path) as writer:
        writer.write({"step": 3})
    assert path.read_text() == '{"step": 1}\n{"step": 3}\n'


@pytest.mark.parametrize("line", ["{nonsense}", "[1, 2]", '{"loss": 1.0}'])
def test_a_damaged_line(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{line}\n{{"step": 2}}\n')
    with pytest.raises(run.RunError) as caught:
        run.read_metrics(path)
    assert repr(line) in str(caught.value)


def test_no_file(tmp_path):
    with pytest.raises(run.RunError, match=r"none.jsonl.*No such file"):
        run.read_metrics(tmp_path / "none.jsonl")
    with pytest.raises(run.RunError, match=r"absent/x.jsonl.*No such file"):
        run.MetricsWriter(tmp_path / "absent" / "x.jsonl")


@pytest.mark.parametrize("row", [{}, {"step": 1.5}, {"step": True}, {"step": "1"}])
def test_a_row_needs_a_step(tmp_path, row):
    writer = run.MetricsWriter(tmp_path / "metrics.jsonl")
    with writer, pytest.raises(ValueError, match=r"should be an int"):
        writer.write(row)
    assert (tmp_path / "metrics.jsonl").read_bytes() == b""


def test_a_full_disk(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"

    def write(number, content):
        if len(content) > 4:  # a system may take a part, and refuse the rest
            return true_write(number, content[:4])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    true_write = os.write
    with run.MetricsWriter(path) as writer:
        writer.write({"step": 1})
        with monkeypatch.context() as patch:
            patch.setattr(_metrics.os, "write", write)
            with pytest.raises(run.RunError, match=r"metrics.jsonl.*No space left"):
                writer.write({"step": 2})
    assert run.read_metrics(path) == [{"step": 1}]
