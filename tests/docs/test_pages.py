"""Every rule has a row, a page that is up to date, and a place in the chooser."""

import inspect
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import auxjax

DOCS = Path(__file__).parents[2] / "docs"
# Of these two rooms, but not rules.
NO_RULES = {"accumulate_tasks", "selected_helpers", "task_metrics"}


@pytest.fixture(autouse=True)
def docs(monkeypatch):
    monkeypatch.syspath_prepend(DOCS)


def public_rules():
    """Names of rules that `auxjax` exports; `scale_by_x` and `x` are one."""
    found = set()
    for name in auxjax.__all__:
        value = getattr(auxjax, name)
        room = getattr(value, "__module__", "").split(".")[1:2]
        is_pure = name.endswith(("_weights", "_rows", "_probabilities"))
        is_of_rooms = room in (["weighting"], ["aggregation"])
        if inspect.isfunction(value) and is_of_rooms and not is_pure:
            found.add(name.removeprefix("scale_by_"))
    return found - NO_RULES


def test_every_public_rule_has_a_row_and_every_row_a_rule():
    from _rules import RULES

    names = [rule.name for rule in RULES]
    assert {"olaux", "log_loss", "sum_tasks"} <= public_rules()
    assert len(names) == len(set(names))
    assert set(names) == public_rules()


def test_pages_and_figures_are_there_and_up_to_date():
    from _pages import pages, stale
    from _rules import RULES

    made = {path.relative_to(DOCS).as_posix() for path in pages()}
    rules = {f"rules/{rule.name}.md" for rule in RULES}
    assert made == rules | {"choose.md", "gallery.md"}
    assert stale() == [], "run `python docs/make.py --no-figures`"
    sizes = [(DOCS / "rules" / f"{rule.name}.png").stat().st_size for rule in RULES]
    assert max(sizes) < 40_000


def test_a_changed_docstring_makes_its_page_stale(monkeypatch):
    import _pages
    import make

    assert make.check() == 0
    path = DOCS / "rules" / "olaux.md"
    made = _pages.pages()
    monkeypatch.setattr(_pages, "pages", lambda: made | {path: made[path] + "new\n"})
    assert _pages.stale() == [path]
    assert make.check() == 1


def test_rows_say_what_they_should():
    from _rules import AGGREGATORS, RULES, SITUATIONS, WEIGHTINGS

    assert list(SITUATIONS) == ["main", "all", "many", "rl"]
    assert {rule.kind for rule in WEIGHTINGS} == {"weighting"}
    assert {rule.kind for rule in AGGREGATORS} == {"aggregator"}
    for rule in RULES:
        assert rule.situations, rule.name
        assert set(rule.situations) <= set(SITUATIONS)
        assert rule.when.endswith(".")
        assert rule.when_not.endswith(".")
        is_cheap = "T" not in rule.backward
        assert is_cheap or "many" not in rule.situations, rule.name


def test_the_chooser_names_every_rule_where_it_belongs():
    from _rules import RULES, SITUATIONS

    text = (DOCS / "choose.md").read_text()
    for key, situation in SITUATIONS.items():
        part = text.split(f"## {situation.title}\n")[1].split("\n## ")[0]
        for rule in RULES:
            row = f"| [{rule.title}](rules/{rule.name}.md) |"
            assert (row in part) == (key in rule.situations), (key, rule.name)


def test_a_page_shows_all_parts_of_a_docstring():
    page = (DOCS / "rules" / "olaux.md").read_text()
    parts = ["**Price**", "**When to use it**", "**When not**", "olaux.png"]
    parts += ["def scale_by_olaux(\n", "    wᵢ ← wᵢ + β α Σ", "class OLAuxState"]
    parts += ["**Args**", "**Returns**", "**Raises**", "**Example**", "**References**"]
    parts += ["| Δw | βα Σ over N steps |", "```pycon\n>>> import jax.numpy as jnp"]
    assert [part for part in parts if part not in page] == []


DOCSTRING = """One line about `other`.

        x = [y](z)

    >>> 2 + 2
    4

    Args:
      n: how many,
        as a number.
      **options: the rest.

    Raises:
      ValueError: for n < 1.

    Prose again.

    Example:
      >>> 1 + 1
      2

    References:
      Somebody, arXiv
      1234.56789, Eq. 1.

    Paper and code:

      | | |
      |---|---|
      | here | exact |
      | there | to a |
      | | digit |
"""

MARKDOWN = """One line about <`other`>.

    x = [y](z)

```pycon
>>> 2 + 2
4
```

**Args**

- `n`: how many, as a number.
- `**options`: the rest.

**Raises**

- `ValueError`: for n < 1.

Prose again.

**Example**

```pycon
>>> 1 + 1
2
```

**References**

Somebody, [arXiv 1234.56789](https://arxiv.org/abs/1234.56789), Eq. 1.

**Paper and code**

| | |
|---|---|
| here | exact |
| there | to a digit |"""


def test_docstrings_become_markdown():
    from _docstrings import to_markdown

    def link(text):
        return text.replace("`other`", "<`other`>")

    assert to_markdown(DOCSTRING, link) == MARKDOWN


def test_what_a_page_would_load_is_seen():
    from make import assets_elsewhere

    html = '<link href="https://a.b/c.css" rel="x"> <a href="https://d.e">f</a>'
    html += '<script src="js/own.js"></script> <script async src=//g.h/i.js>'
    assert assets_elsewhere(html) == ["https://a.b/c.css", "//g.h/i.js"]


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        # tanh 4 of the bowls: (0 - 20) and (14² / 10 - 20), 21 added
        ((7.0, -8.0), (21 - 20 * np.tanh(4), 21 - 0.4 * np.tanh(4))),
        # tanh 1 of the valleys at θ = (1, 2): |-4 + tanh 2| and |1 - tanh 2 + 2|
        (
            (1.0, 2.0),
            (
                21 + (np.log(4 - np.tanh(2)) + 6) * np.tanh(1),
                21 + (np.log(3 - np.tanh(2)) + 6) * np.tanh(1),
            ),
        ),
        ((3.0, 0.0), (21, 21)),  # neither: both halves fade out
    ],
)
def test_the_toy_is_the_papers(point, expected):
    from _toy import losses

    found = losses(jnp.array(point))
    values = [float(found["first"]), float(found["second"])]
    np.testing.assert_allclose(values, expected, rtol=1e-5)


def test_gradients_oppose_each_other_on_the_pareto_front():
    from _toy import losses, pareto_front

    points, values = pareto_front(5)
    jac = jax.vmap(jax.jacrev(losses))(jnp.asarray(points[1:-1]))
    first, second = np.asarray(jac["first"]), np.asarray(jac["second"])
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    np.testing.assert_allclose(np.sum(first * second, axis=1) / norms, -1, atol=1e-3)
    assert np.all(np.diff(values[:, 0]) < 0)
    assert np.all(np.diff(values[:, 1]) > 0)


def test_every_rules_figure_can_be_drawn():
    """The expressions of the table make optimizers."""
    from _figures import optimizer_of
    from _rules import RULES

    for rule in RULES:
        assert optimizer_of(rule).init(jnp.zeros(2)) is not None
