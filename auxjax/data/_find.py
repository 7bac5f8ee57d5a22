"""Where downloaded data may lie."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path


def find(
    names: Sequence[str],
    data_dir: str | Path | None,
    hint: str,
    *,
    accept: Callable[[Path], bool] = Path.exists,
    elsewhere: Sequence[str | Path] = (),
    bare: bool = True,
) -> Path:
    """The first place that holds a data set.

    The folders are searched in this order: `data_dir`, the environment's `AUXJAX_DATA`
    and `TFDS_DATA_DIR`, `~/tensorflow_datasets` (where there is a home), and
    `elsewhere`. A `data_dir` that is no folder is an error at once: it was meant, and
    misspelt. What may not be read is passed over.

    Args:
      names: files or folders, relative to the folders searched; `""` is the folder
        itself. A folder searched that bears such a name is taken for it, too.
      data_dir: the folder to search first, if any.
      hint: the layout expected and where to get it, for the message.
      accept: whether a path is what is looked for.
      elsewhere: further paths to try as they are, when all else fails.
      bare: whether `""` counts for the folders of the environment too; if not, only for
        `data_dir`.

    Returns:
      The path.

    Raises:
      FileNotFoundError: none is there. The message lists all that were tried.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     _ = Path(folder, "digits.npy").write_bytes(b"")
      ...     find(["digits.npy"], folder, "Save your digits there.").name
      'digits.npy'
    """
    tried = []
    if data_dir is not None and not Path(os.path.expanduser(data_dir)).is_dir():
        tried.append(f"{os.path.expanduser(data_dir)} (`data_dir`, which is no folder)")
    else:
        for path in _candidates(names, data_dir, elsewhere, bare):
            try:
                if accept(path):
                    return path
                tried.append(str(path))
            except PermissionError:
                tried.append(f"{path} (which may not be read)")
    raise FileNotFoundError(
        "The data was not found. Tried:\n"
        + "".join(f"  {path}\n" for path in tried)
        + f"{hint}\nThen pass its folder as `data_dir`, or set AUXJAX_DATA to it."
    )


def _candidates(
    names: Sequence[str],
    data_dir: str | Path | None,
    elsewhere: Sequence[str | Path],
    bare: bool,
) -> Iterator[Path]:
    """Every path that may hold the data, none twice."""
    roots = [
        data_dir,
        os.environ.get("AUXJAX_DATA"),
        os.environ.get("TFDS_DATA_DIR"),
        "~/tensorflow_datasets" if has_home() else None,
    ]
    folders = [Path(os.path.expanduser(root)) for root in roots if root]
    paths = [
        root if name and root.name == name else root / name
        for i, root in enumerate(folders)
        for name in names
        if name or bare or (data_dir is not None and i == 0)
    ]
    yield from dict.fromkeys([*paths, *map(Path, elsewhere)])


def has_home() -> bool:
    """Whether `~` is a folder: some containers' users have none."""
    return os.path.expanduser("~") != "~"


def require_file(path: Path, hint: str) -> Path:
    """The path, which others beside it promised, or an error that names it."""
    if not path.is_file():
        instead = " Found a folder of that name." if path.is_dir() else ""
        raise FileNotFoundError(f"`{path}` is missing.{instead} {hint}")
    return path
