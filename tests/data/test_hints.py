"""Files that are there and broken: the error says what is expected, and from where."""

import pytest

from auxjax import data

IDX = [f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]  # fmt: skip  # noqa: E501
CIFAR10 = [
    f"cifar-10-batches-py/{name}"
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
]
SCENES = [
    f"{split}/{kind}/0.npy"
    for split in ("train", "val")
    for kind in ("image", "label", "depth", "normal")
]


@pytest.mark.parametrize(
    ("read", "files", "page"),
    [
        (data.mnist, IDX, "yann.lecun.com"),
        (data.fashion_mnist, IDX, "github.com/zalandoresearch/fashion-mnist"),
        (data.cifar10, CIFAR10, "cs.toronto.edu"),
        (data.cifar100, ["cifar-100-python/train", "cifar-100-python/test"], "cs.tor"),
        (data.svhn, ["train_32x32.mat", "test_32x32.mat"], "ufldl.stanford.edu"),
        (
            data.celeba,
            ["list_attr_celeba.txt", "list_eval_partition.txt"],
            "mmlab.ie.cuhk.edu.hk",
        ),
        (data.nyuv2, SCENES, "github.com/lorenmt/mtan"),
        (
            data.cityscapes,
            [x for x in SCENES if "normal" not in x],
            "github.com/lorenmt/mtan",
        ),
        (lambda folder: data.image_folder(folder, [0], 8), ["a/0.png"], "image-net"),
    ],
)
def test_a_broken_file_is_named_with_what_is_expected(read, files, page, tmp_path):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="Expected") as error:
        read(tmp_path)
    said = str(error.value)
    assert page in said
    assert any(str(tmp_path / name) in said for name in files)
    assert type(error.value) is ValueError


@pytest.mark.parametrize("read", [data.mnist, data.fashion_mnist])
def test_bare_idx_files_are_read_only_where_they_were_named(
    read, tmp_path, monkeypatch
):
    """MNIST's files and Fashion-MNIST's have the same names."""
    for name in IDX:
        axes = 3 if "images" in name else 1
        sizes = [2, 28, 28][:axes]
        header = bytes([0, 0, 8, axes]) + b"".join(x.to_bytes(4, "big") for x in sizes)
        body = bytes(2 * (784 if axes == 3 else 1))
        (tmp_path / name).write_bytes(header + body)
    assert len(read(tmp_path)[0].labels) == 2
    monkeypatch.setenv("AUXJAX_DATA", str(tmp_path))
    monkeypatch.setattr("auxjax.data._idx._DEBIAN_FASHION", str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError):
        read()
