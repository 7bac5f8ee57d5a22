"""Makes the documentation: figures, pages and the site, without a network.

    python docs/make.py               # all of it, into site/
    python docs/make.py --redraw      # every figure anew; --redraw olaux gcs: those
    python docs/make.py --no-figures  # the PNGs stay as they are
    python docs/make.py --check       # fails where a committed page is out of date

A figure that is there is drawn again where its call or the drawing code has changed.
Numbers differ a little from machine to machine, so where only a rule's own code has
changed it is drawn by `--redraw`, and a clean copy stays clean.

The tutorial's figure and table are of `python docs/_tutorial.py`, with `--out` for the
figure, and those of "Do my tasks conflict?" of `python docs/_conflicts.py`. The
modules' pages are made while the site is built (_api.py, _hooks.py), and are no files
of docs/.

Figures need matplotlib, the site needs mkdocs; both are in `pip install -e ".[docs]"`.
Pages need auxjax alone.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
from pathlib import Path

from _api import MODULES
from _pages import DOCS, FIGURES, pages, stale, to_draw
from _rules import AGGREGATORS, RULES, WEIGHTINGS

ROOT = DOCS.parent


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--no-figures", action="store_true", help="leave the PNGs")
    parser.add_argument("--no-site", action="store_true", help="pages alone, no HTML")
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    parser.add_argument("--redraw", nargs="*", metavar="RULE", help="all, or those")
    options = parser.parse_args()
    if options.check:
        return check()
    if not options.no_figures:
        draw_figures(options.redraw)
    write()
    if not options.no_site:
        build_site()
        print(f"open {ROOT / 'site' / 'index.html'}")
    return 0


def check() -> int:
    """1 where a page is out of date."""
    for path in (old := stale()):
        print(f"{path.relative_to(ROOT)} is out of date: run `python docs/make.py`")
    return int(bool(old))


def draw_figures(names: list[str] | None) -> None:
    """Those of these rules; `[]`: all; None: those that are absent or out of date."""
    if unknown := set(names or ()) - set(FIGURES):
        raise SystemExit(f"No rule of that name: {', '.join(sorted(unknown))}.")
    chosen = to_draw() if names is None else RULES
    if chosen := [rule for rule in chosen if not names or rule.name in names]:
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
        from _figures import draw

        draw(tuple(chosen), FIGURES)


def write() -> None:
    """All pages that are new or changed; those of rules that are gone are removed."""
    made = pages()
    for path, text in made.items():
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    for path in stale():
        if path not in FIGURES.values():
            path.unlink()


def build_site() -> None:
    """The HTML, by mkdocs; see _hooks.py for what is not in docs/."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    logging.basicConfig(level=logging.WARNING, format="%(message)s")

    build(load_config(str(Path(ROOT, "mkdocs.yml")), nav=navigation()))
    for page in sorted((ROOT / "site").rglob("*.html")):
        if assets := assets_elsewhere(page.read_text()):
            raise ValueError(
                f"`{page}` should load nothing from outside. Found {assets}."
            )


def navigation() -> list[dict]:
    """Every page of the site, in order."""
    from _hooks import readmes

    def rules(table):
        return [{rule.title: f"rules/{rule.name}.md"} for rule in table]

    return [
        {"Home": "index.md"},
        {"Tutorial": "tutorial.md"},
        {"Gallery": "gallery.md"},
        {"Do my tasks conflict?": "do_my_tasks_conflict.md"},
        {"Which rule?": "choose.md"},
        {"When does it help?": "evidence.md"},
        {"How it works": "how_it_works.md"},
        {"A loss for every example": "instance_wise.md"},
        {"Your framework": "your_framework.md"},
        {"Coming from elsewhere": "coming_from.md"},
        {"Whose gradients it takes": "foreign_gradients.md"},
        {"Many devices, half precision, frozen leaves": "devices_and_precision.md"},
        {"Labels that are generated": "labelling.md"},
        {"The toy problem": "toy.md"},
        {"What is tested": "tested.md"},
        {"Weightings": rules(WEIGHTINGS)},
        {"Aggregators": rules(AGGREGATORS)},
        {"Modules": [{title: f"api/{name}.md"} for name, title in MODULES.items()]},
        {"Experiments and benchmarks": list(readmes())},
    ]


def assets_elsewhere(html: str) -> list[str]:
    """What a page would load from the network; hyperlinks are not loaded."""
    tag = r"<(?:script|img|link|iframe)\b[^>]*?(?:src|href)="
    return re.findall(tag + r"[\"']?((?:https?:)?//[^\"'> ]+)", html)


if __name__ == "__main__":
    sys.exit(main())
