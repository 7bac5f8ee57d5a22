"""Writes scenes as MTAN publishes NYUv2: numbered npy files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from auxjax.data._scenes import Scenes
from auxjax.data._visible import visible

__all__ = ["write_mtan"]


def write_mtan(scenes_train: Scenes, scenes_val: Scenes, root: str | Path) -> Path:
    """Writes `root/{train,val}/{image,label,depth,normal}/{i}.npy`, channels last.

    What other code reads as NYUv2 it can then read as rooms, and `nyuv2` reads back
    what was written.

    Args:
      scenes_train: for `train`; every field but `part` is written.
      scenes_val: for `val`.
      root: the folder; made if it is not there.

    Returns:
      The folder.

    Raises:
      ValueError: a split has no normals, or its arrays are of unequal length.
      FileExistsError: there is a split in that folder already; nothing is written.
      OSError: the disk is full, or the folder is read-only.

    Example:
      >>> import tempfile
      >>> import numpy as np
      >>> from auxjax.data import Scenes
      >>> room = Scenes(*(np.zeros((1, 4, 4, *c)) for c in [(3,), (), (1,), (3,)]))
      >>> root = write_mtan(room, room, tempfile.mkdtemp())
      >>> sorted(path.name for path in root.glob("train/*"))
      ['depth', 'image', 'label', 'normal']

    References:
      Liu, Johns, Davison: End-to-End Multi-Task Learning with Attention (2019),
      arXiv 1803.10704.
    """
    root = Path(root).expanduser()
    splits = {root / "train": scenes_train, root / "val": scenes_val}
    for folder, scenes in splits.items():
        _check(folder, scenes)
    for folder, scenes in splits.items():
        kinds = (scenes.images, scenes.label, scenes.depth, scenes.normal)
        for kind, arrays in zip(_KINDS, kinds, strict=True):
            (folder / kind).mkdir(parents=True)
            for i, array in enumerate(np.asarray(arrays)):
                np.save(folder / kind / f"{i}.npy", array)
    return root


_KINDS = ("image", "label", "depth", "normal")


def _check(folder: Path, scenes: Scenes) -> None:
    if folder.exists() and visible(folder):
        raise FileExistsError(
            f"`{folder}` should be empty: its numbers would be mixed."
        )
    if scenes.normal is None:
        raise ValueError("`scenes.normal` should be given: the layout has normals.")
    arrays = (scenes.images, scenes.label, scenes.depth, scenes.normal)
    lengths = [len(array) for array in arrays]
    if len(set(lengths)) != 1:
        raise ValueError(
            "`scenes` should have as many images as labels, depths and normals. "
            f"Found {lengths}."
        )
