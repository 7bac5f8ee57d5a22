"""Reading ahead: what comes, in which order, how it ends."""

import gc
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from auxjax.data import Images, batches, prefetch

PATIENCE = 20.0


def threads():
    return [t for t in threading.enumerate() if t.name.endswith("(_fill)")]


@pytest.fixture(autouse=True)
def no_thread_stays():
    yield
    if threads():
        gc.collect()
        wait_until(lambda: not threads())


def wait_until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


class Source:
    """Counts what was read of it; raises after `fails_at` batches."""

    def __init__(self, n, fails_at=None):
        self.n, self.fails_at, self.read, self.closed = n, fails_at, 0, False

    def __iter__(self):
        try:
            for i in range(self.n):
                if i == self.fails_at:
                    raise OSError(f"batch {i} is unreadable")
                self.read += 1
                yield np.full(2, i, np.int32)
        finally:
            self.closed = True


@pytest.mark.parametrize("depth", [1, 2, 50])
def test_the_same_batches_in_the_same_order(depth):
    source = Source(7)
    ready = prefetch(source, depth)
    assert iter(ready) is ready
    got = list(ready)
    assert [batch.tolist() for batch in got] == [[i, i] for i in range(7)]
    assert all(isinstance(batch, jax.Array) for batch in got)
    with pytest.raises(StopIteration):
        next(ready)
    assert source.closed


def test_pytrees_and_dtypes():
    images = Images(np.ones((4, 2, 2, 1), np.uint8), np.arange(4, dtype=np.int32))
    with prefetch(batches(images, 2, shuffle=False)) as ready:
        first, second = ready
    assert isinstance(first, Images)
    assert first.images.dtype == jnp.uint8
    assert first.coarse is None
    assert second.labels.tolist() == [2, 3]


def test_it_reads_ahead_and_no_further():
    source = Source(100)
    ready = prefetch(source, 3)
    wait_until(lambda: source.read == 3)
    time.sleep(0.05)
    assert source.read == 3
    next(ready)
    wait_until(lambda: source.read == 4)
    time.sleep(0.05)
    assert source.read == 4
    ready.close()
    assert source.closed


@pytest.mark.parametrize("depth", [1, 10])
def test_an_error_comes_in_its_place(depth):
    ready = prefetch(Source(9, fails_at=3), depth)
    assert [int(next(ready)[0]) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="batch 3 is unreadable") as error:
        next(ready)
    assert "test_prefetch" in str(error.traceback[-1].path)  # where it happened
    with pytest.raises(StopIteration):
        next(ready)


def test_an_error_of_the_device():
    with pytest.raises(TypeError, match="object"):
        next(prefetch([object()]))


def test_closing_stops_the_thread():
    source = Source(1000)
    with prefetch(source) as ready:
        next(ready)
        assert len(threads()) == 1
    assert not threads()
    assert source.closed
    with pytest.raises(StopIteration):
        next(ready)
    ready.close()  # twice does no harm


def test_closing_wakes_nobody_who_is_not_there():
    source = Source(0)
    ready = prefetch(source)
    wait_until(lambda: source.closed)
    ready.close()
    with pytest.raises(StopIteration):
        next(ready)


def test_an_exception_in_the_loop_stops_the_thread():
    source = Source(1000)

    def loop():
        with prefetch(source) as ready:
            for _ in ready:
                raise KeyError

    with pytest.raises(KeyError):
        loop()
    assert source.closed


def test_being_forgotten_stops_the_thread():
    source = Source(1000)
    for batch in prefetch(source):
        assert batch.tolist() == [0, 0]
        break
    gc.collect()
    assert source.closed


def test_an_error_nobody_waits_for_is_dropped_at_close():
    ready = prefetch(Source(3, fails_at=0))
    wait_until(lambda: not threads())
    ready.close()
    with pytest.raises(StopIteration):
        next(ready)


def test_an_error_that_comes_after_closing_is_dropped():
    go_on = threading.Event()

    def source():
        yield np.zeros(1)
        go_on.wait(PATIENCE)
        raise OSError("too late")

    ready = prefetch(source(), 5)
    next(ready)
    closer = threading.Thread(target=ready.close)
    closer.start()
    wait_until(lambda: ready._shelf._is_closed)
    go_on.set()
    closer.join(PATIENCE)
    with pytest.raises(StopIteration):
        next(ready)


def test_sharding():
    mesh = Mesh(np.array(jax.devices()[:4]), ("batch",))
    sharding = NamedSharding(mesh, PartitionSpec("batch"))
    data = (np.arange(16.0, dtype=np.float32)[:, None], np.arange(16, dtype=np.int32))
    for x, y in prefetch(batches(data, 8), sharding=sharding):
        assert x.sharding == y.sharding == sharding
        assert {shard.data.shape for shard in x.addressable_shards} == {(2, 1)}


def test_a_batch_that_does_not_divide_is_an_error():
    mesh = Mesh(np.array(jax.devices()[:4]), ("batch",))
    sharding = NamedSharding(mesh, PartitionSpec("batch"))
    with pytest.raises(ValueError, match="evenly divide"):
        next(prefetch([np.zeros(3)], sharding=sharding))


def test_contexts_reach_the_thread():
    second = jax.devices()[1]
    with jax.enable_x64(True), jax.default_device(second):
        batch = next(prefetch([np.zeros(3)]))
    assert batch.dtype == jnp.float64
    assert batch.devices() == {second}
    assert next(prefetch([np.zeros(3)])).dtype == jnp.float32


def test_many_epochs_equal_plain_reading():
    arrays = {"x": np.arange(50, dtype=np.int32)}
    for epoch in range(3):
        plain = [b["x"].tolist() for b in batches(arrays, 7, epoch=epoch, start=2)]
        with prefetch(batches(arrays, 7, epoch=epoch, start=2)) as ready:
            assert [b["x"].tolist() for b in ready] == plain


def test_a_depth_out_of_range():
    with pytest.raises(ValueError, match=r"`depth` should be at least 1. Found 0."):
        prefetch([], depth=0)
