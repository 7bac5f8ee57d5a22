"""CityScapes in MTAN's and in Auto-λ's layout, written here and read back."""

import numpy as np
import pytest
from PIL import Image

from auxjax.data import cityscapes

H, W = 4, 8


def write_npy(root, labels=("label",), counts=(2, 1)):
    rng = np.random.default_rng(0)
    written = {}
    for split, count in zip(("train", "val"), counts, strict=True):
        for i in range(count):
            arrays = {
                "image": rng.uniform(0, 1, (H, W, 3)).astype(np.float32),
                "depth": rng.uniform(0, 0.5, (H, W, 1)).astype(np.float32),
            }
            for name in labels:
                top = 7 if name == "label_7" else 19
                arrays[name] = rng.integers(-1, top, (H, W)).astype(np.float64)
            for name, array in arrays.items():
                (root / split / name).mkdir(parents=True, exist_ok=True)
                np.save(root / split / name / f"{i}.npy", array)
                written[split, name, i] = array
    return written


def png_scene(seed):
    rng = np.random.default_rng(seed)
    raw = rng.integers(0, 40000, (H, W)).astype(np.uint16)
    raw[0, :3] = [0, 1, 1025]
    return {
        "image": rng.integers(0, 256, (H, W, 3), dtype=np.uint8),
        "depth": raw,
        "seg": np.arange(H * W, dtype=np.uint8).reshape(H, W) % 34,
        "part_seg": rng.choice(
            [24, 26005, 2400302, 2600101, 2899905, 2400300], (H, W)
        ).astype(np.int32),
    }


def write_png(root, kinds=("image", "depth", "seg"), counts=(2, 1)):
    for split, count in zip(("train", "val"), counts, strict=True):
        for kind in kinds:
            (root / split / kind).mkdir(parents=True)
            suffix = ".tif" if kind == "part_seg" else ".png"
            for i in range(count):
                array = png_scene(10 * len(split) + i)[kind]
                path = root / split / kind / f"{i}{suffix}"
                Image.fromarray(array).save(path)


@pytest.mark.parametrize("layout", ["auto", "npy"])
@pytest.mark.parametrize("folder", ["", "cityscapes"])
@pytest.mark.parametrize(
    ("labels", "num_classes", "read"),
    [
        (["label"], 19, "label"),
        (["label"], 7, "label"),
        (["label", "label_7", "label_19"], 19, "label_19"),
        (["label", "label_7", "label_19"], 7, "label_7"),
    ],
)
def test_npy(tmp_path, layout, folder, labels, num_classes, read):
    written = write_npy(tmp_path / folder, labels)
    if read == "label" and num_classes == 7:
        for (split, name, i), array in written.items():
            if name == "label":
                array %= 7
                np.save(tmp_path / folder / split / name / f"{i}.npy", array)
    train, validation = cityscapes(tmp_path, layout, num_classes)
    assert train.images.shape == (2, H, W, 3)
    assert validation.depth.shape == (1, H, W, 1)
    for part, split in ((train, "train"), (validation, "val")):
        assert part.normal is None
        assert part.part is None
        assert part.label.dtype == np.int32
        for i in range(len(part.images)):
            for array, name in (
                (part.images, "image"), (part.depth, "depth"), (part.label, read)
            ):  # fmt: skip
                np.testing.assert_array_equal(array[i], written[split, name, i])


@pytest.mark.parametrize("layout", ["auto", "png"])
def test_png(tmp_path, layout):
    write_png(tmp_path)
    train, validation = cityscapes(tmp_path, layout)
    assert train.part is None
    assert train.normal is None
    for part, seed in ((train, 50), (validation, 30)):
        for i in range(len(part.images)):
            scene = png_scene(seed + i)
            np.testing.assert_allclose(part.images[i], scene["image"] / 255, rtol=1e-6)
            known = scene["depth"] > 1
            expected = (scene["depth"].astype(float) - 1) / 1024
            np.testing.assert_allclose(
                part.depth[i, ..., 0][known], expected[known], rtol=1e-6
            )
    assert train.images.dtype == train.depth.dtype == np.float32
    # Unknown, truly nought, one pixel of a picture 512 wide.
    np.testing.assert_allclose(train.depth[0, 0, :3, 0], [0, 1e-6, 1], rtol=1e-6)
    # 7 road, 8 pavement, 11 building; 33 would be bicycle; 0 to 6 and 9 are ignored.
    assert train.label.dtype == np.int32
    assert train.label[0].reshape(-1).tolist() == [
        *[-1] * 7, 0, 1, -1, -1, 2, 3, 4, -1, -1, -1, 5, -1, 6, 7, 8, 9, 10, 11, 12,
        13, 14, 15, -1, -1, 16,
    ]  # fmt: skip


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_class_ids_of_any_integers(tmp_path, dtype):
    """255, or −1 where it can be written, is the published id of no class at all."""
    write_png(tmp_path)
    ids = np.full((H, W), 33, dtype)
    ids[0, :3] = [0, 255, -1 if dtype == np.int32 else 255]
    path = tmp_path / "train/seg/0.png"
    Image.fromarray(ids).save(path, "TIFF" if dtype == np.int32 else "PNG")
    train, _ = cityscapes(tmp_path, num_classes=np.int64(19))
    assert train.label.dtype == np.int32
    assert train.label[0].reshape(-1).tolist() == [-1] * 3 + [18] * (H * W - 3)


@pytest.mark.parametrize("layout", ["npy", "png"])
def test_what_systems_leave_does_not_count(tmp_path, litter, layout):
    """Nor does it make pictures of npy files."""
    write_npy(tmp_path) if layout == "npy" else write_png(tmp_path)
    before = cityscapes(tmp_path)
    litter(tmp_path)
    for one, two in zip(before, cityscapes(tmp_path), strict=True):
        np.testing.assert_array_equal(one.images, two.images)
        np.testing.assert_array_equal(one.label, two.label)


def test_parts(tmp_path):
    write_png(tmp_path, ("image", "depth", "seg", "part_seg"))
    train, validation = cityscapes(tmp_path)
    # A person as a whole; car 5; person 3's head; car 1's window; bus 999's chassis;
    # a person's part without a name.
    parts = {24: 0, 26005: 0, 2400302: 2, 2600101: 5, 2899905: 9, 2400300: 0}
    for part, seed in ((train, 50), (validation, 30)):
        assert part.part.dtype == np.int32
        for i, array in enumerate(part.part):
            ids = png_scene(seed + i)["part_seg"]
            np.testing.assert_array_equal(array, np.vectorize(parts.get)(ids))
    assert set(np.unique(train.part)) == {0, 2, 5, 9}


def said(tmp_path, kind=ValueError, **arguments):
    with pytest.raises(kind) as error:
        cityscapes(tmp_path, **arguments)
    return str(error.value)


def test_nothing_at_all(tmp_path):
    message = said(tmp_path, FileNotFoundError)
    assert "{train,val}/{image,label,depth}/{0,1,…}.npy" in message
    assert "{train,val}/{image,depth,seg}/{0,1,…}.png" in message
    assert "https://www.cityscapes-dataset.com" in message


def test_nyuv2_is_not_taken_for_it(tmp_path):
    write_npy(tmp_path)
    (tmp_path / "train" / "normal").mkdir()
    said(tmp_path, FileNotFoundError)


@pytest.mark.parametrize("kind", ["image", "depth", "seg", "part_seg"])
def test_a_missing_png(tmp_path, kind):
    write_png(tmp_path, ("image", "depth", "seg", "part_seg"))
    suffix = ".tif" if kind == "part_seg" else ".png"
    path = tmp_path / "train" / kind / f"1{suffix}"
    path.unlink()
    assert f"`{path}` should be there" in said(tmp_path, FileNotFoundError)


def test_parts_of_one_split_only(tmp_path):
    write_png(tmp_path)
    (tmp_path / "train" / "part_seg").mkdir()
    assert f"`{tmp_path}/train/part_seg` should hold 0.tif" in said(tmp_path)
    ids = png_scene(0)["part_seg"]
    for i in range(2):
        Image.fromarray(ids).save(tmp_path / "train" / "part_seg" / f"{i}.tif")
    message = said(tmp_path, FileNotFoundError)
    assert f"`{tmp_path}/val/part_seg` is missing" in message


def test_a_missing_label_folder(tmp_path):
    write_npy(tmp_path, ["label_7"])
    message = said(tmp_path, FileNotFoundError)
    assert f"`{tmp_path}/train/label` is missing" in message
    assert len(cityscapes(tmp_path, num_classes=7)[0].images) == 2


def test_labels_of_more_classes(tmp_path):
    write_npy(tmp_path)
    np.save(tmp_path / "train/label/1.npy", np.full((H, W), 18))
    assert "train/label/" in said(tmp_path, num_classes=7)
    assert "labels from -1 to 6. Found" in said(tmp_path, num_classes=7)


def test_arguments(tmp_path):
    write_png(tmp_path)
    assert '`layout` should be "auto"' in said(tmp_path, layout="jpg")
    assert "`num_classes` should be 19" in said(tmp_path, num_classes=7)
    assert "hold only 0.npy, 1.npy, …. Found" in said(tmp_path, layout="npy")


@pytest.mark.parametrize("kind", ["image", "depth", "seg", "part_seg"])
@pytest.mark.parametrize("cut", [0, 10, 0.5])
def test_a_truncated_picture(tmp_path, kind, cut):
    write_png(tmp_path, ("image", "depth", "seg", "part_seg"))
    suffix = ".tif" if kind == "part_seg" else ".png"
    path = tmp_path / "val" / kind / f"0{suffix}"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(cut * len(whole)) if cut < 1 else cut])
    assert f"`{path}` should be a whole picture" in said(tmp_path)


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        ("image", np.zeros((H, W), np.uint8), "three 8-bit channels. Found mode L."),
        ("image", np.zeros((H, W, 4), np.uint8), "8-bit channels. Found mode RGBA."),
        ("image", np.zeros((H, 9, 3), np.uint8), "be 4 × 8 pixels, as the others"),
        ("depth", np.zeros((H, W), np.uint8), "16-bit disparities. Found mode L."),
        ("depth", np.zeros((H, 9), np.uint16), "be 4 × 8 pixels, as the others"),
        ("seg", np.zeros((H, W, 3), np.uint8), "picture of class ids. Found mode RGB."),
        ("seg", np.full((H, W), 34, np.uint8), "ids from -1 to 33. Found 34 to 34."),
        ("seg", np.full((H, W), 511, np.uint16), "from -1 to 33. Found 511 to 511."),
    ],
)
def test_malformed_pictures(tmp_path, kind, content, message):
    write_png(tmp_path)
    path = tmp_path / "train" / kind / "1.png"
    Image.fromarray(content).save(path)
    assert f"`{path}` should " in said(tmp_path)
    assert message in said(tmp_path)


def test_part_ids_out_of_range(tmp_path):
    write_png(tmp_path, ("image", "depth", "seg", "part_seg"))
    path = tmp_path / "train" / "part_seg" / "1.tif"
    Image.fromarray(np.full((H, W), 10_000_000, np.int32)).save(path)
    assert "part ids of up to 7 digits. Found 10000000 to" in said(tmp_path)
