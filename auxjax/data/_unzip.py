"""Compressed files, of which no more is unpacked than what is published can hold."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path

from auxjax.data._images import malformed

LARGEST = 512 * 2**20
"""Bytes. CIFAR's archives hold 186 MB, MNIST's images 47 MB, EMNIST's digits 188 MB."""

_PIECE = 2**20


def unzipped(path: Path, expected: str) -> io.BytesIO:
    """The content of a file, which may be gzipped or not.

    Args:
      path: of the file.
      expected: what it should be, for the message.

    Returns:
      All of it.

    Raises:
      ValueError: it is truncated or corrupt, or more than `LARGEST` when unpacked.
    """
    content = io.BytesIO()
    try:
        with path.open("rb") as raw:
            is_zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            stream = gzip.GzipFile(fileobj=raw) if is_zipped else raw
            while content.tell() <= LARGEST and (piece := stream.read(_PIECE)):
                content.write(piece)
    except (EOFError, OSError, zlib.error) as error:
        raise malformed(path, expected, error) from error
    if content.tell() > LARGEST:
        raise malformed(path, f"unpack to at most {LARGEST:,} bytes", "more")
    content.seek(0)
    return content
