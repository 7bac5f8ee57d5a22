"""What the site has beside the pages of docs/: modules, experiments, benchmarks.

mkdocs calls these functions (`hooks:` in mkdocs.yml). The modules' pages are made of
the docstrings while the site is built. Of `experiments/` and `benchmarks/` the READMEs
and figures stand in the site where they stand in the repository.
"""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path

from mkdocs.structure.files import File, Files

DOCS = Path(__file__).parent
ROOT = DOCS.parent
OUTSIDE = ("experiments", "benchmarks")
LINK = re.compile(r"(!?)\[([^\[\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")

sys.path.insert(0, str(DOCS))
import _api  # noqa: E402


def readmes() -> list[str]:
    """Of the rooms that have one, by their place in the repository."""
    paths = [*ROOT.glob("benchmarks/README.md"), *ROOT.glob("experiments/README.md")]
    paths += sorted(ROOT.glob("experiments/*/README.md"))
    return [path.relative_to(ROOT).as_posix() for path in paths]


def figures() -> list[str]:
    """All that are committed, by their place in the repository."""
    paths = [x for room in OUTSIDE for x in sorted(ROOT.glob(f"{room}/**/*.png"))]
    return [path.relative_to(ROOT).as_posix() for path in paths]


def on_files(files: Files, *, config) -> Files:
    """Adds them."""
    for place, text in _api.pages().items():
        files.append(File.generated(config, place, content=text))
    for place in [*readmes(), *figures()]:
        path = str(ROOT / place)
        files.append(File.generated(config, place, abs_src_path=path))
    return files


def on_page_markdown(markdown: str, *, page, config, files: Files) -> str:
    """Links as they are in the repository become links of the site.

    A folder's link leads to its README, and is plain text where it has none. A page of
    docs/ that names a file that is not there ends the build. A README from elsewhere
    also names scripts and tables: those links become plain text.
    """
    here = page.file.src_uri
    is_ours = not here.startswith(OUTSIDE)
    folder = posixpath.dirname(f"docs/{here}" if is_ours else here)

    def replace(match):
        mark, text, target, anchor = match.groups()
        if ":" in target:
            return match[0]
        meant = posixpath.normpath(posixpath.join(folder, target))
        inside = meant.removeprefix("docs/")
        for place in (inside, f"{inside}/README.md"):
            if files.get_file_from_path(place) is not None:
                link = posixpath.relpath(place, posixpath.dirname(here) or ".")
                return f"{mark}[{text}]({link}{anchor or ''})"
        is_wrong = is_ours and not (ROOT / meant).is_dir()
        return match[0] if is_wrong else text

    return LINK.sub(replace, markdown)
