import json

import numpy as np
import pytest

import auxjax
from tests._scripts import load_script


@pytest.fixture
def toy(experiments):
    return load_script("toy_quadratics")


@pytest.fixture
def problems(experiments):
    from toys import problems

    return problems


@pytest.fixture
def words(experiments):
    from toys import words

    return words


def verdicts(folder):
    rows = json.loads((folder / "toy.json").read_text())["claims"]
    return {row["claim"]: row["verdict"] for row in rows}


FEW = ["--starts", "64", "--long-steps", "10000"]
FIGURES = ("olaux_figure2", "gcs_figure2", "gcs_figure8", "gcs_figure9")


def test_every_claim_holds(toy, tmp_path, capsys):
    toy.main([*FEW, "--out", str(tmp_path), "--name", "toy"])
    said = capsys.readouterr().out
    assert "disagrees" in said
    assert said.splitlines()[-1] == f"Written to {tmp_path / 'toy'}"
    found = list(verdicts(tmp_path / "toy").values())
    assert found.count("FAILS") == 0
    assert found.count("holds") > 20
    assert found.count("disagrees with the paper") > 0


def test_a_smoke_run_draws_and_judges_nothing(smoke):
    """As little as this proves no claim: none is told, none can fail."""
    done = smoke("toy_quadratics")
    assert not any(word in done.out for word in ("holds", "FAILS", "disagrees"))
    assert verdicts(done.folder) == {}
    for name in FIGURES:
        assert (done.folder / f"toy_{name}.png").stat().st_size > 10_000


def test_equal_weights_in_olauxs_place_fail_by_name(toy, tmp_path, monkeypatch):
    """The exit code is that of an error, and the message names the claim."""
    from toys import report

    monkeypatch.setattr(report, "drawings", lambda _: {})
    args = [*FEW, "--out", str(tmp_path), "--name", "toy"]
    with pytest.raises(SystemExit) as stopped:
        toy.main(args, olaux=auxjax.fixed([1, 1, 1]))
    assert "OL-AUX finds the main optimum from all four starts" in stopped.value.code
    found = verdicts(tmp_path / "toy")
    failed = {name for name, verdict in found.items() if verdict == "FAILS"}
    assert len([name for name in failed if name.startswith("OL-AUX")]) == 3
    assert found["OL-AUX Fig. 2: fixed weights end in a sub-optimal point"] == "holds"


def test_the_problems_are_the_papers(problems):
    at = np.array([1.0, 2.0], np.float32)
    assert float(problems.L1(at)) == 5.0
    assert float(problems.L3(at)) == 1.0
    assert float(problems.L4(at)) == 1.0 + 2.25
    # V = [-θ2/‖θ‖² - 2 θ1, θ1/‖θ‖² - 2 θ2]
    np.testing.assert_allclose(problems.swirl(at), [-0.4 - 2, 0.2 - 4], rtol=1e-6)
    np.testing.assert_allclose(problems.half_flat(at), 1 - np.exp(-10), rtol=1e-6)
    assert float(problems.half_flat(-at)) == 5.0


def test_a_vector_field_enters_as_stacked_gradients(problems):
    at = np.array([1.0, 2.0], np.float32)
    rows = problems.GCS_PROBLEMS["L1 + V"].rows(at)
    np.testing.assert_allclose(rows, [[2, 4], [-2.4, -3.8]], rtol=1e-6)


def test_descent_by_hand(problems):
    """θ ← θ - 0.1 · 2θ on the main loss alone."""
    from toys.runs import descend

    problem = problems.of_losses(problems.L1, problems.L3)
    runs = descend(problem, auxjax.fixed([1, 0]), [[1.0, -2.0]], steps=2, step_size=0.1)
    expected = [[1, -2], [0.8, -1.6], [0.64, -1.28]]
    np.testing.assert_allclose(runs.path[0], expected, rtol=1e-6)
    np.testing.assert_allclose(runs.loss[0], [5, 3.2, 2.048], rtol=1e-6)


def test_convergence_time_is_the_first_step_below(words):
    loss = np.array([[0.2, 0.09, 0.3], [0.2, 0.2, 0.1], [0.05, 1.0, 1.0]])
    assert words.convergence_time(loss).tolist() == [1, np.inf, 0]


def test_only_our_own_words_can_fail(words):
    assert words.claim("F", "t", "m", np.bool_(False))["verdict"] == "FAILS"
    told = words.disputed("F", "t", "m", False)["verdict"]
    assert told == "disagrees with the paper"
    assert words.disputed("F", "t", "m", True)["verdict"] == "holds"
