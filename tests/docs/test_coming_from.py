"""Every name of ours on the page for those who come from elsewhere exists."""

import functools
import inspect
import re
from pathlib import Path

import jax
import optax
import pytest

import auxjax
import auxjax.data
import auxjax.models
import auxjax.supervised

PAGE = Path(__file__).parents[2] / "docs" / "coming_from.md"
TEXT = PAGE.read_text()
THEIRS = {  # the rules of the versions that the page names, as they are called there
    "TorchJD": {
        *("UPGrad", "DualProj", "MGDA", "CAGrad", "PCGrad", "GradVac", "GradDrop"),
        *("IMTLG", "NashMTL", "AlignedMTL", "ConFIG", "FairGrad", "SDMGradWeighting"),
        *("Mean", "Sum", "Constant", "Random", "UW", "IMTLL", "DWA", "FAMO", "STCH"),
        *("GeometricMean", "Krum", "TrimmedMean", "ExcessMTL", "MoDoWeighting", "PCD"),
        *("CRMOGMWeighting", "COSMOS", "PBI"),
    },
    "LibMTL": {
        *("EW", "UW", "DWA", "RLW", "GLS", "GradNorm", "IMTL", "STCH", "FAMO", "MGDA"),
        *("PCGrad", "GradVac", "GradDrop", "CAGrad", "Nash_MTL", "Aligned_MTL"),
        *("FairGrad", "SDMGrad", "UPGrad", "MoCo", "MoDo", "DB_MTL", "ExcessMTL"),
        *("MOML", "FORUM"),
    },
    "auto-lambda": {
        *("AutoLambda", "equal", "uncert", "dwa", "graddrop", "pcgrad", "cagrad"),
    },
}
SECTIONS = tuple(THEIRS)


def rows(section):
    """The cells of the section's table, without its head."""
    part = TEXT.split(f"\n## {section}\n")[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("| ")]
    return [re.split(r"\s*\|\s*", line.strip()[1:-1].strip()) for line in lines][1:]


def spans(cell):
    return re.findall(r"`([^`]+)`", cell)


@functools.cache
def names_of(section):
    """What the code up to a section's table leaves behind, and what tables name."""
    found = {"T": 3, "steps": 4, "optax": optax, "auxjax": auxjax}
    until = TEXT.split(f"\n## {section}\n")
    text = until[0] + until[1].split("\n## ")[0]
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
            exec(compile(code, PAGE.name, "exec"), found)
    return found


def test_the_code_runs_and_leaves_weights():
    assert names_of("auto-lambda")["lambdas"].shape == (3,)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_call_of_ours_can_be_made(section):
    table, names = rows(section), names_of(section)
    assert len(table) > 10
    made = 0
    for row in table:
        assert len(row) == 3, row
        for code in spans(row[1]):
            if "(" in code or code.startswith("auxjax."):
                assert eval(code, names) is not None, code
                made += 1
    assert made >= len(table) - 3


def test_arguments_in_the_last_column_are_ours():
    """`name=` there is an argument of something that the row or the page names."""
    known = {"task_mask", "next_losses", "second_jacobian", "third_jacobian"}
    known |= {"meta_losses", "second_stream", "channels"}
    for name in auxjax.__all__:
        value = getattr(auxjax, name)
        if inspect.isfunction(value):
            known |= set(inspect.signature(value).parameters)
    said = [x for s in SECTIONS for row in rows(s) for x in spans(row[2])]
    used = {x for code in said for x in re.findall(r"\b([a-z_]+)=", code)}
    assert used
    assert used <= known


@pytest.mark.parametrize("section", SECTIONS)
def test_every_rule_of_theirs_is_on_the_page(section):
    theirs = " ".join(x for row in rows(section) for x in spans(row[0]))
    assert THEIRS[section] - set(re.findall(r"\w+", theirs)) == set()


def test_what_is_here_alone_is_here():
    (said,) = re.findall(r"Here and not there: (.*?)\n\n", TEXT, re.DOTALL)
    assert len(spans(said)) >= 8
    assert set(spans(said)) <= set(auxjax.__all__)
