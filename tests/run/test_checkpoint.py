import errno
import os
from collections import namedtuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from auxjax.run import RunError, _checkpoint, restore, save
from auxjax.run._checkpoint import last_checkpoint, read_note, steps

DTYPES = [
    *("bool", "int4", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64"),
    *("uint64", "float8_e4m3fn", "float8_e5m2", "float16", "bfloat16", "float32"),
    *("float64", "complex64"),
]


def bits(dtype):
    """Numbers of every pattern of bits, NaNs with a payload among them."""
    dtype = np.dtype(dtype)
    raw = np.random.default_rng(0).integers(0, 256, 24 * dtype.itemsize, np.uint8)
    if dtype.kind == "b":
        raw = raw % 2
    if dtype == "int4":
        raw = raw % 8
    return raw.view(dtype).reshape(4, 6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_bit_comes_back(tmp_path, dtype):
    value = bits(jnp.dtype(dtype))
    save(tmp_path, 1, {"x": value, "one": value[0, 0]})
    step, found = restore(tmp_path, {"x": np.zeros_like(value), "one": value[1, 1]})
    assert step == 1
    assert found["x"].dtype == value.dtype
    assert found["x"].tobytes() == value.tobytes()
    assert found["one"].dtype == value.dtype
    assert found["one"].tobytes() == value[0, 0].tobytes()


def test_a_training_state_comes_back(tmp_path):
    params = {"w": jnp.full((3, 2), 1.5), "none": None, "empty": jnp.zeros((0, 2))}
    tx = optax.chain(optax.clip(1.0), optax.adam(0.1))
    Named = namedtuple("Named", ["key", "keys", "count", "rate", "flag"])
    named = Named(
        jax.random.key(3),
        jax.random.split(jax.random.key(4, impl="rbg"), 2),
        7,
        0.1,
        True,
    )
    state = (params, tx.init(params), named)
    save(tmp_path, 12, state, note={"chunk": 3})
    zero = (
        jax.tree.map(jnp.zeros_like, params),
        tx.init(params),
        Named(
            jax.random.key(0),
            jax.random.split(jax.random.key(0, impl="rbg"), 2),
            0,
            0.0,
            False,
        ),
    )
    step, (found, opt_state, found_named) = restore(tmp_path, zero)
    assert step == 12
    assert read_note(tmp_path) == {"chunk": 3}
    assert found["none"] is None
    assert found["empty"].shape == (0, 2)
    assert isinstance(found["w"], jax.Array)
    np.testing.assert_array_equal(found["w"], np.full((3, 2), 1.5))
    assert jax.tree.structure(opt_state) == jax.tree.structure(state[1])
    assert found_named[2:] == (7, 0.1, True)
    assert type(found_named.flag) is bool
    for before, after in zip(named[:2], found_named[:2], strict=True):
        assert jax.random.key_impl(before) == jax.random.key_impl(after)
        assert (jax.random.key_data(before) == jax.random.key_data(after)).all()
        assert (
            jax.random.bits(before.ravel()[0]) == jax.random.bits(after.ravel()[0])
        ).all()


def test_shapes_alone_are_enough_to_restore(tmp_path):
    def make():
        return {"w": jnp.arange(3.0), "key": jax.random.key(5, impl="rbg")}

    save(tmp_path, 0, make())
    _, found = restore(tmp_path, jax.eval_shape(make))
    np.testing.assert_array_equal(found["w"], [0.0, 1.0, 2.0])
    assert str(jax.random.key_impl(found["key"])) == "rbg"


def test_arrays_go_back_to_their_devices(tmp_path):
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.NamedSharding(mesh, jax.P("batch"))
    state = {"spread": jax.device_put(jnp.arange(16), spread), "free": jnp.ones(2)}
    save(tmp_path, 0, state)
    _, found = restore(tmp_path, state)
    assert found["spread"].sharding == spread
    assert not found["free"].committed
    np.testing.assert_array_equal(found["spread"], np.arange(16))


def test_a_state_of_nothing(tmp_path):
    state = {"empty": jnp.zeros((0, 3)), "keys": jax.random.key(0)[None][:0], "n": None}
    save(tmp_path, 0, state)
    _, found = restore(tmp_path, state)
    assert found["empty"].shape == (0, 3)
    assert found["keys"].shape == (0,)
    assert found["keys"].dtype == state["keys"].dtype


def test_no_checkpoint(tmp_path):
    assert restore(tmp_path, {"x": 1}) is None
    assert restore(tmp_path / "absent", {"x": 1}) is None
    assert last_checkpoint(tmp_path / "absent") is None
    assert read_note(tmp_path) == {}


def test_the_last_two_are_kept(tmp_path):
    for step in (5, 10, 100):
        assert save(tmp_path, step, {"x": float(step)}) == tmp_path / str(step)
    assert steps(tmp_path) == [10, 100]
    assert restore(tmp_path, {"x": 0.0}) == (100, {"x": 100.0})


def test_steps_go_up(tmp_path):
    save(tmp_path, 5, {"x": 1})
    with pytest.raises(ValueError, match=r"`step` should be above 5.*Found 5"):
        save(tmp_path, 5, {"x": 2})
    assert restore(tmp_path, {"x": 0}) == (5, {"x": 1})


def test_a_half_written_checkpoint_does_not_count(tmp_path):
    save(tmp_path, 5, {"x": 1})
    half = tmp_path / "10.orbax-checkpoint-tmp"
    (half / "arrays").mkdir(parents=True)
    (half / "arrays" / "data").write_bytes(b"half")
    assert restore(tmp_path, {"x": 0}) == (5, {"x": 1})
    save(tmp_path, 10, {"x": 2})
    assert restore(tmp_path, {"x": 0}) == (10, {"x": 2})
    assert not half.exists()


def test_orbax_moves_a_checkpoint_into_place_at_the_end(tmp_path, monkeypatch):
    """The half-written folder above is named as Orbax names it."""
    seen = []
    sweep = _checkpoint._sweep

    def fail(*_, **__):
        seen.extend(item.name for item in tmp_path.iterdir())
        raise OSError(errno.EIO, "lost power")

    monkeypatch.setattr("orbax.checkpoint.JsonCheckpointHandler.finalize", fail)
    monkeypatch.setattr(_checkpoint, "_sweep", lambda folder: None)
    with pytest.raises(RunError, match="lost power"):
        save(tmp_path, 5, {"x": jnp.ones(3)})
    assert [name.split("-")[0] for name in seen] == ["5.unfinished.orbax"]
    assert steps(tmp_path) == []
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("like", "message"),
    [
        ({"w": jnp.zeros((2, 4)), "b": 0}, r"32\[2,4\]. Found float32\[2,3\]"),
        ({"w": jnp.zeros((2, 3), int), "b": 0}, r"`\['w'\]` should be int32\[2,3\]"),
        ({"w": jnp.zeros((2, 3)), "b": 0.0}, r"`\['b'\]` should be float. Found int"),
        ({"w": jax.random.key(0), "b": 0}, r"should be key<fry>\[\]. Found float32"),
        ({"v": jnp.zeros((2, 3)), "b": 0}, r"should be `\['v'\]`. Found `\['w'\]`"),
        ({"w": jnp.zeros((2, 3)), "b": 0, "x": 0}, r"`\['x'\]` should be there"),
        ({"b": 0}, r"no more leaves. Found `\['w'\]`"),
    ],
)  # fmt: skip
def test_another_state(tmp_path, like, message):
    save(tmp_path, 0, {"w": jnp.zeros((2, 3)), "b": 1})
    with pytest.raises(RunError, match=message):
        restore(tmp_path, like)


def test_keys_of_two_kinds_do_not_mix(tmp_path):
    save(tmp_path, 0, {"key": jax.random.key(0)})
    with pytest.raises(RunError, match=r"should be key<rbg>\[\]. Found key<fry>\[\]"):
        restore(tmp_path, {"key": jax.random.key(0, impl="rbg")})


@pytest.mark.parametrize("leaf", ["text", np.array("text"), np.array([None]), object()])
def test_leaves_that_are_no_arrays(tmp_path, leaf):
    with pytest.raises(ValueError, match=r"`\['name'\]` should be an array"):
        save(tmp_path, 0, {"name": leaf})
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_checkpoint(tmp_path):
    path = save(tmp_path, 0, {"x": 1})
    (path / "meta" / "metadata").unlink()
    with pytest.raises(RunError, match="should be a whole checkpoint"):
        restore(tmp_path, {"x": 0})


def test_a_full_disk(tmp_path, monkeypatch):
    save(tmp_path, 1, {"x": 1})
    Usage = namedtuple("Usage", "total used free")
    with monkeypatch.context() as patch:
        patch.setattr(_checkpoint.shutil, "disk_usage", lambda path: Usage(9, 9, 1000))
        with pytest.raises(RunError, match=r"1,052,576 bytes.*Found 1,000"):
            save(tmp_path, 2, {"x": np.zeros(500)})

    def fail(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("orbax.checkpoint.Checkpointer.save", fail)
        with pytest.raises(RunError, match=f"{tmp_path}/2.*No space left on device"):
            save(tmp_path, 2, {"x": 2})
    assert restore(tmp_path, {"x": 0}) == (1, {"x": 1})


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"file/below.*Not a directory"):
        save(tmp_path / "file" / "below", 0, {"x": 1})


def files_of(path):
    return sorted(file for file in path.rglob("*") if file.is_file())


def flip(file, bit):
    content = bytearray(file.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    file.write_bytes(content)


def test_no_flipped_bit_is_restored(tmp_path):
    """Anywhere in the checkpoint: the error names the file."""
    state = {"w": jnp.arange(300.0), "key": jax.random.key(0), "count": 3}
    path = save(tmp_path, 4, state, note={"chunk": 2})
    files = files_of(path)
    # Ten bits per file, small and large ones alike, then more of the largest.
    bits = np.random.default_rng(0)
    chosen = [file for file in files for _ in range(10) if file.stat().st_size]
    chosen += [max(files, key=lambda file: file.stat().st_size)] * 30
    assert len(chosen) >= 60
    for file in chosen:
        bit = int(bits.integers(8 * file.stat().st_size))
        flip(file, bit)
        with pytest.raises(RunError, match="should hold what was saved") as caught:
            restore(tmp_path, state)
        assert f"`{file}`" in str(caught.value), bit
        assert f"`{path}`" in str(caught.value)
        flip(file, bit)
    step, found = restore(tmp_path, state)
    assert (step, found["count"]) == (4, 3)
    np.testing.assert_array_equal(found["w"], state["w"])


def test_a_flipped_bit_in_the_note(tmp_path):
    path = save(tmp_path, 4, {"x": 1}, note={"chunk": 2})
    flip(path / "meta" / "metadata", 8 * 20)
    with pytest.raises(RunError, match=r"meta/metadata` should hold what was saved"):
        read_note(tmp_path)


def test_a_file_that_is_gone(tmp_path):
    path = save(tmp_path, 4, {"x": jnp.ones(3)})
    gone = next(file for file in files_of(path) if "arrays" in file.parts)
    gone.unlink()
    with pytest.raises(RunError, match=r"should hold what was saved. Found no file"):
        restore(tmp_path, {"x": jnp.zeros(3)})


def test_a_checkpoint_of_a_version_without_checksums(tmp_path):
    path = save(tmp_path, 4, {"x": 1}, note={"chunk": 2})
    (path / "checksums.json").unlink()
    assert restore(tmp_path, {"x": 0}) == (4, {"x": 1})
    assert read_note(tmp_path) == {"chunk": 2}


def test_numbers_of_numpy_in_a_note(tmp_path):
    note = {"chunk": np.int64(2), "rates": np.ones(2), "loss": float("nan")}
    save(tmp_path, np.int64(4), {"x": 1}, note=note)
    assert read_note(tmp_path) == {"chunk": 2, "rates": [1.0, 1.0], "loss": "NaN"}
    assert steps(tmp_path) == [4]


def test_saving_is_killed_before_it_is_sealed(tmp_path, monkeypatch):
    save(tmp_path, 5, {"x": 1})

    def killed(folder):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_checkpoint, "seal", killed)
        with pytest.raises(KeyboardInterrupt):
            save(tmp_path, 10, {"x": 2})
    assert restore(tmp_path, {"x": 0}) == (5, {"x": 1})
    save(tmp_path, 10, {"x": 2})
    assert {item.name for item in tmp_path.iterdir()} == {"5", "10"}
