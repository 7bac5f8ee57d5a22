"""Random rooms: that their truth is true, and that they are rendered once."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from auxjax.data import _rooms
from auxjax.data._rooms import ROOM_CLASSES, render_room, rooms
from auxjax.data._rooms_scene import random_room
from auxjax.data._rooms_types import CEILING, FLOOR, FURNITURE, OBJECT, WALL

COUNT, SIZE, SEED = 24, (24, 32), 5


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rooms")
    return rooms(COUNT, COUNT, size=SIZE, seed=SEED, cache_dir=folder)


@pytest.fixture(scope="module")
def keys():
    """The keys of the training scenes."""
    key = jax.random.fold_in(jax.random.key(SEED), 0)
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(COUNT))


@pytest.fixture(scope="module")
def made(keys):
    """The rooms of the training scenes."""
    return jax.jit(jax.vmap(random_room))(keys)


def camera_points(scenes, made):
    """Each pixel's point in the camera's frame, `[n, H, W, 3]`."""
    height, width = SIZE
    pixel = np.asarray(made.camera.width)[:, None, None] / width
    x = (np.arange(width) + 0.5 - width / 2)[None, None] * pixel
    y = -(np.arange(height) + 0.5 - height / 2)[None, :, None] * pixel
    rays = np.stack(np.broadcast_arrays(x, y, -1.0), axis=-1)
    return rays * scenes.depth


def test_shapes_and_ranges(rendered):
    for scenes in rendered:
        assert scenes.images.shape == (COUNT, *SIZE, 3)
        assert scenes.label.shape == (COUNT, *SIZE)
        assert scenes.depth.shape == (COUNT, *SIZE, 1)
        assert scenes.normal.shape == (COUNT, *SIZE, 3)
        assert scenes.part is None
        assert [x.dtype for x in scenes[:4]] == [np.float32, np.int32] + [
            np.float32
        ] * 2
        assert scenes.images.min() >= 0
        assert scenes.images.max() <= 1
        levels = 255 * scenes.images
        np.testing.assert_allclose(levels, np.round(levels), atol=1e-4)


def test_every_class_is_seen_and_some_pixels_are_invalid(rendered):
    for scenes in rendered:
        share = [(scenes.label == c).mean() for c in range(-1, len(ROOM_CLASSES))]
        assert sum(share) == pytest.approx(1)
        assert min(share) > 0.002
        assert max(share) < 0.7


def test_invalid_is_invalid_everywhere(rendered):
    for scenes in rendered:
        valid = scenes.label >= 0
        np.testing.assert_array_equal(scenes.depth[..., 0] > 0, valid)
        np.testing.assert_array_equal(scenes.normal.sum(-1) != 0, valid)
        assert not scenes.depth[~valid].any()
        assert not scenes.normal[~valid].any()


def test_normals_are_unit_vectors_that_face_the_camera(rendered, made):
    train, _ = rendered
    valid = train.label >= 0
    length = np.linalg.norm(train.normal[valid], axis=-1)
    np.testing.assert_allclose(length, 1, atol=1e-5)
    points = camera_points(train, made)[valid]
    facing = np.sum(points * train.normal[valid], axis=-1)
    assert facing.max() < 1e-4


def test_points_lie_where_their_class_says(rendered, made):
    train, _ = rendered
    points = camera_points(train, made)
    axes, eye = np.asarray(made.camera.axes), np.asarray(made.camera.eye)
    points = np.einsum("nij,nhwj->nhwi", axes, points) + eye[:, None, None]
    normal = np.einsum("nij,nhwj->nhwi", axes, train.normal)
    half = np.broadcast_to(np.asarray(made.half)[:, None, None], points.shape)

    def of(label, array):
        return array[train.label == label]

    np.testing.assert_allclose(of(FLOOR, points)[:, 2], 0, atol=1e-4)
    np.testing.assert_allclose(of(FLOOR, normal)[:, 2], 1, atol=1e-5)
    ceiling = of(CEILING, points)[:, 2] - 2 * of(CEILING, half)[:, 2]
    np.testing.assert_allclose(ceiling, 0, atol=1e-4)
    np.testing.assert_allclose(of(CEILING, normal)[:, 2], -1, atol=1e-5)
    to_wall = np.abs(np.abs(of(WALL, points)) - of(WALL, half))[:, :2].min(axis=1)
    np.testing.assert_allclose(to_wall, 0, atol=1e-4)
    # Things stand on the floor (a little air is left for rounding), in the room.
    for label in (FURNITURE, OBJECT):
        assert of(label, points)[:, 2].min() > -1e-3
        assert of(label, half - np.abs(points))[:, :2].min() > -1e-3


def test_normals_are_orthogonal_to_the_surface(rendered, made):
    """Between neighbours on one plane, the way from one to the other lies in it."""
    train, _ = rendered
    points = camera_points(train, made)
    alike = (train.normal[:, :, 1:] == train.normal[:, :, :-1]).all(-1)
    alike &= train.label[:, :, 1:] == train.label[:, :, :-1]
    alike &= np.isin(train.label[:, :, 1:], [WALL, FLOOR, CEILING])
    way = points[:, :, 1:] - points[:, :, :-1]
    across = np.sum(way * train.normal[:, :, 1:], axis=-1)
    assert alike.mean() > 0.5
    assert np.abs(across[alike]).max() < 1e-4


def test_pictures_show_what_is_there(rendered):
    """Neither black nor white, no two alike, and train is not test."""
    images = np.concatenate([scenes.images for scenes in rendered])
    assert (images.std(axis=(1, 2)).mean(axis=-1) > 0.02).all()
    assert 0.2 < images.mean() < 0.7
    flat = images.reshape(2 * COUNT, -1)
    apart = np.abs(flat[:, None] - flat[None]).mean(axis=-1)
    assert apart[~np.eye(2 * COUNT, dtype=bool)].min() > 0.02


def test_render_room_is_the_pure_function_behind_them(rendered, keys):
    train, _ = rendered
    some = jax.jit(jax.vmap(lambda key: render_room(key, SIZE)))(keys)
    assert some.part is None
    # The same formulas compiled for a batch: an edge may fall a pixel further.
    same = some.label == train.label
    assert same.mean() > 0.999
    close = np.abs(some.depth - train.depth)[..., 0] < 1e-3
    assert close.mean() > 0.999
    assert (np.abs(some.images - train.images).max(-1) < 0.02).mean() > 0.99


# From here on nothing is rendered: what matters is when it would be.


@pytest.fixture
def renders(monkeypatch):
    """Counts what is rendered, by something quick that depends on key and index."""
    calls = []

    def quick(key, first, *, count, size):
        calls.append((int(first), count))
        scenes = _rooms._empty(count, size)
        noise = np.random.default_rng([int(x) for x in jax.random.key_data(key)])
        for name, array in scenes.items():
            array[:] = noise.integers(0, 5, array.shape[1:])[None]
            array[:] += (int(first) + np.arange(count)).astype(array.dtype).reshape(
                (-1,) + (1,) * (array.ndim - 1)
            ) * (name != "label")
        return scenes

    monkeypatch.setattr(_rooms, "_render_some", quick)
    return calls


def few(folder, num_train=3, num_test=2, **options):
    return rooms(num_train, num_test, size=(4, 4), cache_dir=folder, **options)


def equal(one, two):
    return all(
        (x == y).all()
        for a, b in zip(one, two, strict=True)
        for x, y in zip(a[:4], b[:4], strict=True)
    )


def test_rendered_once(renders, tmp_path):
    first = few(tmp_path)
    assert renders == [(0, 3), (0, 2)]
    assert equal(few(tmp_path), first)
    assert len(renders) == 2
    assert not list(tmp_path.glob("*.part"))


def test_other_rooms_have_other_files(renders, tmp_path):
    first = few(tmp_path)
    assert not equal(few(tmp_path, seed=1), first)
    assert len(renders) == 4
    few(tmp_path, num_train=4)  # the test scenes are there already
    assert renders[4:] == [(0, 4)]
    assert len(list(tmp_path.iterdir())) == 5


def test_files_of_another_recipe_are_left_alone(renders, tmp_path, monkeypatch):
    few(tmp_path)
    monkeypatch.setattr(_rooms, "recipe", lambda: "another")
    few(tmp_path)
    assert len(renders) == 4


def damage(path, how):
    content = path.read_bytes()
    if how == "empty":
        path.write_bytes(b"")
    elif how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "a flipped bit":
        middle = len(content) // 2
        flipped = bytes([content[middle] ^ 1])
        path.write_bytes(content[:middle] + flipped + content[middle + 1 :])
    elif how == "not a zip":
        path.write_bytes(b"nothing of the kind" * 100)
    elif how == "a plain npy":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    elif how == "an array too few":
        np.savez(path, images=np.zeros((3, 4, 4, 3), np.uint8))
    elif how == "another dtype":
        arrays = {name: x.astype(np.float64) for name, x in np.load(path).items()}
        np.savez(path, **arrays)
    elif how == "another shape":
        np.savez(path, **{name: x[:-1] for name, x in np.load(path).items()})


@pytest.mark.parametrize(
    "how",
    [
        *("empty", "truncated", "a flipped bit", "not a zip", "a plain npy"),
        *("an array too few", "another dtype", "another shape"),
    ],
)
def test_a_damaged_cache_is_rendered_again(renders, tmp_path, how):
    first = few(tmp_path)
    (path,) = tmp_path.glob("rooms-train-*.npz")
    damage(path, how)
    assert equal(few(tmp_path), first)
    assert renders[2:] == [(0, 3)]  # and not the test scenes
    assert equal(few(tmp_path), first)
    assert len(renders) == 3


def test_no_folder_no_cache_no_complaint(renders, tmp_path, capfd):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    first = few(blocked / "rooms")
    assert equal(few(blocked / "rooms"), first)
    assert len(renders) == 4
    assert capfd.readouterr() == ("", "")


def test_a_full_disk_leaves_nothing_behind(renders, tmp_path, monkeypatch):
    def full(file, **arrays):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    few(tmp_path)
    assert len(renders) == 2
    assert list(tmp_path.iterdir()) == []


def test_the_folder_comes_from_the_environment(renders, tmp_path, monkeypatch):
    monkeypatch.delenv("AUXJAX_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    few(None)
    assert len(list((tmp_path / "xdg" / "auxjax").glob("rooms-*.npz"))) == 2
    monkeypatch.setenv("AUXJAX_CACHE", str(tmp_path / "own"))
    few(None)
    assert len(list((tmp_path / "own").glob("rooms-*.npz"))) == 2
    assert len(renders) == 4


def test_chunks_and_progress(renders, tmp_path, monkeypatch):
    monkeypatch.setattr(_rooms, "_CHUNK_PIXELS", 2 * 16)
    seen = []
    train, _ = few(tmp_path, progress=lambda *numbers: seen.append(numbers))
    assert renders == [(0, 2), (2, 2), (0, 2)]  # a last chunk is as long as the others
    assert seen == [(0, 5), (2, 5), (3, 5), (3, 5), (5, 5)]
    # Scene i differs from scene 0 by i: none is lost or doubled where chunks meet.
    step = train.depth[:, 0, 0, 0] - train.depth[0, 0, 0, 0]
    assert step.tolist() == [0, 1, 2]
    few(tmp_path, progress=lambda *numbers: seen.append(numbers))
    assert len(seen) == 5


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("quiet", [True, False])
def test_a_line_moves_on_a_terminal(renders, tmp_path, monkeypatch, quiet):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    few(tmp_path, quiet=quiet)
    said = terminal.getvalue()
    assert said == "" if quiet else said.endswith("\rrendering rooms: 5/5\n")
    assert renders


def test_errors(tmp_path):
    with pytest.raises(ValueError, match=r"`num_train` should be at least 1. Found 0"):
        few(tmp_path, num_train=0)
    with pytest.raises(ValueError, match=r"`num_test` should be at least 1. Found -1"):
        few(tmp_path, num_test=-1)
    with pytest.raises(ValueError, match=r"`size` should be at least 1 × 1. Found"):
        rooms(1, 1, size=(0, 4), cache_dir=tmp_path)
