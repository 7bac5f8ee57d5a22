"""What lies in a folder, without what operating systems and editors leave there."""

from __future__ import annotations

from pathlib import Path

_LEFT_BY_SYSTEMS = {
    *("__macosx", "icon\r"),  # macOS; its other files begin with a dot
    *("thumbs.db", "ehthumbs.db", "desktop.ini"),  # Windows
    *("$recycle.bin", "system volume information"),
    *("lost+found", "@eadir"),  # Linux, network drives
}


def counts(name: str) -> bool:
    """Whether a file or folder of this name is anybody's data."""
    return not name.startswith(".") and name.lower() not in _LEFT_BY_SYSTEMS


def visible(folder: Path) -> list[Path]:
    """The files and folders in a folder that count, sorted."""
    return sorted(item for item in folder.iterdir() if counts(item.name))


def visible_below(folder: Path, name: str) -> list[Path]:
    """The files of one name below a folder, however deep, in folders that count."""
    return sorted(
        path
        for path in folder.rglob(name)
        if path.is_file() and all(map(counts, path.relative_to(folder).parts))
    )
