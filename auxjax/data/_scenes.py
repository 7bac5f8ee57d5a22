"""Pictures with a dense truth: what each pixel is, how far, and how it is turned."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Scenes(NamedTuple):
    """Pictures and the dense truth about them, NumPy arrays on the host.

    Attributes:
      images: `[n, H, W, 3]` float32 in [0, 1].
      label: `[n, H, W]` int32, the class of each pixel; −1 is to be ignored (and 255,
        which readers turn into −1).
      depth: `[n, H, W, 1]` float32, or disparity; 0 is to be ignored.
      normal: `[n, H, W, 3]` float32, unit normals of the surfaces; a pixel whose
        channels add up to 0 is to be ignored. None where there are none.
      part: `[n, H, W]` int32, the part of the object that a pixel shows, −1 to be
        ignored. None where there are none.
    """

    images: np.ndarray
    label: np.ndarray
    depth: np.ndarray
    normal: np.ndarray | None = None
    part: np.ndarray | None = None
