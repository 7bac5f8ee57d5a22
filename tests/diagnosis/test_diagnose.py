"""`diagnose` against the same numbers by NumPy, and what may come in its way."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import auxjax
from tests.diagnosis.conftest import Problem


def close(found, expected, rtol=1e-9):
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol)


def batches(problem, dtype="float64"):
    return [jnp.asarray(x, dtype) for x in problem.x]


def test_the_numbers_are_those_of_numpy(four):
    found = auxjax.diagnose(four.losses, four.params(), batches(four))
    rows = np.stack([four.rows(x) for x in four.x])  # [n, T, D]
    gram = rows @ rows.transpose(0, 2, 1)
    dots = gram[:, 0]
    norms = np.linalg.norm(rows, axis=2)
    cosines = gram / (norms[:, :, None] * norms[:, None, :])
    n = len(dots)
    assert found.names == four.names
    close(found.inner_products, dots)
    close(found.mean, dots.mean(0))
    close(found.std, dots.std(0, ddof=1))
    close(found.signal_to_noise, dots.mean(0) / dots.std(0, ddof=1))
    close(found.t_values, np.sqrt(n) * dots.mean(0) / dots.std(0, ddof=1))
    close(found.share_positive, (dots > 0).mean(0))
    close(found.effect, dots.mean(0) / (norms[:, 0] ** 2).mean())
    close(found.pair_cosines, cosines)
    close(found.cosines, cosines.mean(0))
    close(found.conflict_rate, (cosines < 0).mean(0))
    close(found.norms, norms.mean(0))
    assert 0 < found.conflict_rate[0, 1:].max() < 1  # the problem has some of both
    np.testing.assert_array_equal(found.counts, [n] * 4)
    np.testing.assert_array_equal(found.nonfinite, [0] * 4)
    np.testing.assert_array_equal(found.measurable(), abs(found.t_values) > 2)
    np.testing.assert_array_equal(found.pair_batches, np.arange(n))


def test_across_batches_the_main_gradient_is_that_of_the_batch_before(four):
    given = batches(four)
    found = auxjax.diagnose(four.losses, four.params(), given, across_batches=True)
    dots = [
        four.rows(x) @ four.rows(before)[0]
        for before, x in zip(four.x[:-1], four.x[1:], strict=True)
    ]
    close(found.inner_products, dots)
    close(found.effect, np.mean(dots, 0) / np.mean(dots, 0)[0])
    norms = [np.linalg.norm(four.rows(x), axis=1) for x in four.x[1:]]
    close(found.norms, np.mean(norms, 0))
    assert found.across_batches


def test_across_batches_the_common_noise_is_gone(x64):
    """Two losses that share their noise and nothing else."""

    def losses(p, x):
        return jnp.sum(p * x), jnp.sum(p * (x + jnp.array([0.0, 0.5])))

    given = jax.random.normal(jax.random.key(1), (400, 2))
    together, apart = (
        auxjax.diagnose(losses, jnp.ones(2), given, across_batches=across)
        for across in (False, True)
    )
    assert together.t_values[1] > 10
    assert together.mean[1] == pytest.approx(2.0, abs=0.3)  # tr Cov
    assert abs(apart.mean[1]) < 0.2  # ⟨0, (0, 0.5)⟩
    assert not apart.measurable()[1]


@pytest.mark.parametrize(("every", "expected"), [(5, [0, 5, 10]), (0, [])])
def test_pairs_now_and_then(four, every, expected):
    whole = auxjax.diagnose(four.losses, four.params(), batches(four))
    found = auxjax.diagnose(
        four.losses, four.params(), batches(four), pairs_every=every
    )
    close(found.inner_products, whole.inner_products)
    np.testing.assert_array_equal(found.pair_batches, expected)
    close(found.pair_cosines, whole.pair_cosines[expected].reshape(-1, 4, 4))
    close(found.pair_norms, whole.pair_norms[expected].reshape(-1, 4))
    assert np.isnan(found.cosines).all() == (not expected)
    assert ("–" in str(found)) == (not expected)


def test_any_iterable_of_batches_will_do(four):
    whole = auxjax.diagnose(four.losses, four.params(), jnp.asarray(four.x))
    loader = (x for x in np.concatenate([four.x, four.x]))
    some = auxjax.diagnose(four.losses, four.params(), loader, num_batches=12)
    assert len(list(loader)) == 12  # not one more was taken
    named = auxjax.diagnose(
        lambda p, batch: four.losses(p, batch["x"]), four.params(), {"x": four.x}
    )
    for found in (some, named):
        close(found.inner_products, whole.inner_products)


def test_one_task_and_forty(x64):
    one = Problem(1)
    found = auxjax.diagnose(one.losses, one.params(), batches(one))
    full = [np.sum(one.rows(x) ** 2) + one.heads[0] ** 2 for x in one.x]  # all leaves
    close(found.inner_products[:, 0], full)
    close(found.cosines, [[1.0]])
    assert found.verdicts() == ("main task",)
    assert str(found).splitlines()[-1] == "12 batches."
    forty = Problem(40)
    found = auxjax.diagnose(forty.losses, forty.params(), batches(forty))
    rows = np.stack([forty.rows(x) for x in forty.x])
    close(found.inner_products, rows @ rows[:, :1].transpose(0, 2, 1) @ np.ones(1))
    assert len(str(found).splitlines()) == 42


def test_absent_tasks_do_not_count(four):
    """Task 2 is absent in every third batch, the main task in the last one."""
    there = np.ones((12, 4), bool)
    there[::3, 2], there[-1, 0] = False, False
    given = [
        {"x": x, "there": jnp.asarray(t)} for x, t in zip(four.x, there, strict=True)
    ]

    def losses(params, batch):
        found = four.losses(params, batch["x"])
        found["aux1"] = jnp.where(batch["there"][2], found["aux1"], jnp.nan)
        return found

    masked, by_nan = (
        auxjax.diagnose(losses, four.params(), given, task_mask=mask)
        for mask in (lambda batch: batch["there"], None)
    )
    rows = np.stack([four.rows(x) for x in four.x])
    dots = np.where(
        there & there[:, :1], (rows @ rows.transpose(0, 2, 1))[:, 0], np.nan
    )
    close(masked.inner_products, dots)
    np.testing.assert_array_equal(masked.counts, [11, 11, 7, 11])
    np.testing.assert_array_equal(masked.nonfinite, [0] * 4)
    close(masked.mean, np.nanmean(dots, 0))
    close(masked.std, np.nanstd(dots, 0, ddof=1))
    close(masked.share_positive, [np.mean(d[~np.isnan(d)] > 0) for d in dots.T])
    assert np.isnan(masked.pair_cosines[0, 2]).all()  # its own included
    assert not np.isnan(masked.pair_cosines[-1, 1, 3])  # pairs without the main task
    dots[-1] = (rows @ rows.transpose(0, 2, 1))[-1, 0]  # nobody said so there
    close(by_nan.inner_products, dots)
    np.testing.assert_array_equal(by_nan.nonfinite, [0, 0, 4, 0])


def test_across_batches_both_main_tasks_have_to_be_there(four):
    there = np.ones((12, 4), bool)
    there[4, 0] = False
    given = [
        {"x": x, "there": jnp.asarray(t)} for x, t in zip(four.x, there, strict=True)
    ]
    found = auxjax.diagnose(
        lambda params, batch: four.losses(params, batch["x"]),
        four.params(),
        given,
        task_mask=lambda batch: batch["there"],
        across_batches=True,
    )
    missing = np.flatnonzero(np.isnan(found.inner_products).all(1))
    np.testing.assert_array_equal(missing, [3, 4])  # with batch 4, and after it


def test_a_main_task_that_is_not_finite_alone_is_at_fault(four):
    def losses(params, x):
        found = four.losses(params, x)
        return found | {"zebra": jnp.where(x[0] > 1, jnp.inf, found["zebra"])}

    found = auxjax.diagnose(losses, four.params(), batches(four))
    bad = four.x[:, 0] > 1
    assert 0 < bad.sum() < 12
    np.testing.assert_array_equal(found.nonfinite, [bad.sum(), 0, 0, 0])
    np.testing.assert_array_equal(np.isnan(found.inner_products).all(1), bad)
    assert not np.isnan(found.pair_cosines[:, 1:, 1:]).any()


def test_a_gradient_that_is_not_finite_is_at_fault(four):
    """The loss is 0 there, its slope infinite."""

    def losses(params, x):
        root = jnp.sqrt(jnp.abs(params["w"][0]) * 0.0 * x[0])
        return four.losses(params, x) | {"aux0": root}

    found = auxjax.diagnose(losses, four.params(), batches(four))
    np.testing.assert_array_equal(found.nonfinite, [0, 12, 0, 0])
    np.testing.assert_array_equal(found.counts, [12, 0, 12, 12])
    assert found.verdicts()[1] == "too few batches"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_lesser_precision(dtype):
    problem = Problem(4)
    expected = np.stack([problem.rows(x) for x in problem.x])
    cosines = expected @ expected.transpose(0, 2, 1)
    norms = np.linalg.norm(expected, axis=2)
    cosines /= norms[:, :, None] * norms[:, None, :]
    rtol = 1e-5 if dtype == "float32" else 0.03
    given = [jnp.asarray(x, dtype) for x in problem.x]
    found = auxjax.diagnose(problem.losses, problem.params(dtype), given)
    np.testing.assert_allclose(found.pair_cosines, cosines, atol=rtol)
    np.testing.assert_allclose(found.norms, norms.mean(0), rtol=rtol)


def test_chosen_leaves_a_main_task_by_name_and_what_stands_beside(four):
    def losses(params, x):
        return four.losses(params, x), {"beside": x}

    whole = auxjax.diagnose(losses, four.params(), batches(four), has_aux=True)
    own = {"heads": True, "w": False}
    found = auxjax.diagnose(
        losses, four.params(), batches(four), has_aux=True, where=own, main="aux1"
    )
    assert found.names == ("aux1", "zebra", "aux0", "aux2")
    close(found.norms, np.abs(four.heads[[2, 0, 1, 3]]))
    assert (found.inner_products[:, 1:] == 0).all()
    assert found.verdicts() == ("main task", *["nothing shared"] * 3)
    assert whole.names[0] == "zebra"


def test_complex_parameters_count_as_pairs_of_real_ones(x64):
    x = jax.random.normal(jax.random.key(0), (5, 2, 3))

    def real(p, x):
        return jnp.sum((p - x) ** 2), jnp.sum((p * x) ** 2)

    def as_complex(p, x):
        return real(jnp.stack([p.real, p.imag]), x)

    here = jnp.arange(6.0).reshape(2, 3)
    for across in (False, True):
        pair, whole = (
            auxjax.diagnose(f, p, x, across_batches=across)
            for f, p in ((real, here), (as_complex, jax.lax.complex(here[0], here[1])))
        )
        close(whole.inner_products, pair.inner_products)
        close(whole.cosines, pair.cosines)


def test_refusals(four):
    params, given = four.params(), batches(four)
    with pytest.raises(ValueError, match=r"`batches` should hold at least one batch\."):
        auxjax.diagnose(four.losses, params, [])
    with pytest.raises(ValueError, match=r"two batches with `across_batches`"):
        auxjax.diagnose(four.losses, params, given[:1], across_batches=True)
    with pytest.raises(
        ValueError, match=r"`pairs_every` should be at least 0. Found -1"
    ):
        auxjax.diagnose(four.losses, params, given, pairs_every=-1)
    with pytest.raises(
        ValueError, match=r"`num_batches` should be at least 1. Found 0"
    ):
        auxjax.diagnose(four.losses, params, given, num_batches=0)
    with pytest.raises(
        ValueError, match=r"`task_mask` should be bools of shape \(4,\)"
    ):
        auxjax.diagnose(four.losses, params, given, task_mask=lambda x: x > 0)


# Verdicts


def found_with(dots, norms=None):
    """A diagnosis of these inner products `[n, T]`."""
    dots = np.asarray(dots, float)
    num_tasks = dots.shape[1]
    known = norms is not None
    return auxjax.Diagnosis(
        names=tuple("abcdefgh"[:num_tasks]),
        inner_products=dots,
        pair_cosines=np.zeros((int(known), num_tasks, num_tasks)),
        pair_norms=np.array([norms]) if known else np.zeros((0, num_tasks)),
        pair_batches=np.arange(int(known)),
        nonfinite=np.zeros(num_tasks, int),
    )


def helper(mean, std, n=16):
    """`[n]` numbers of just this mean and standard deviation."""
    noise = np.tile([1.0, -1.0], n // 2)
    return mean + std * noise / noise.std(ddof=1)


@pytest.mark.parametrize(
    ("dots", "size", "verdict"),
    [
        (helper(0.5, 0.1), 1.0, "sum"),
        (helper(0.5, 0.1), 3.1, "reweight"),
        (helper(0.5, 0.1), 2.9, "sum"),
        (helper(0.5, 0.1), 0.3, "reweight"),
        (helper(0.5, 0.9), 1.0, "reweight"),  # t = 2.2, but half of them are below 0
        (helper(0.5, 1.1), 1.0, "unclear"),  # t = 1.8
        (helper(-0.5, 1.1), 1.0, "unclear"),
        (helper(-0.5, 0.1), 1.0, "project"),
        (helper(-0.99, 0.1), 1.0, "project"),
        (helper(-0.11, 0.02), 1.0, "project"),
        (helper(-0.09, 0.02), 1.0, "sum"),  # a conflict too small to matter
        (helper(-0.09, 0.02), 4.0, "reweight"),
        (helper(-0.09, 0.15), 1.0, "reweight"),  # t = −2.4
        (helper(-1.01, 0.1), 1.0, "train apart"),
        (helper(0.0, 0.0), 1.0, "nothing shared"),
        (helper(0.5, 0.0), 1.0, "sum"),  # no noise at all
        (helper(-2.0, 0.0), 1.0, "train apart"),
    ],
)
def test_each_verdict_has_its_place(dots, size, verdict):
    main = helper(1.0, 0.2)
    found = found_with(np.stack([main, dots], 1), [1.0, size])
    assert found.verdicts() == ("main task", verdict)
    assert verdict in str(found).splitlines()[2]
    few = found_with(np.stack([main, dots], 1)[:6], [1.0, size])
    assert few.verdicts()[1] == "too few batches"
    if verdict not in ("nothing shared",):
        assert found.verdicts(t_value=1e9)[1] in ("unclear", verdict)


def test_thresholds_can_be_given():
    found = found_with(np.stack([helper(1.0, 0.2), helper(0.5, 0.9)], 1), [1.0, 4.0])
    assert found.verdicts(steady=0.5, ratio=5.0)[1] == "sum"
    assert found.verdicts(steady=0.5)[1] == "reweight"
    assert found.verdicts(t_value=2.5)[1] == "unclear"
    foe = found_with(np.stack([helper(1.0, 0.2), helper(-0.3, 0.1)], 1))
    assert foe.verdicts(slows=0.5)[1] == "sum"
    assert foe.verdicts()[1] == "project"
    assert found.verdicts(min_batches=17)[1] == "too few batches"


def test_norms_that_nobody_measured_decide_nothing():
    found = found_with(np.stack([helper(1.0, 0.2), helper(0.5, 0.1)], 1))
    assert found.verdicts() == ("main task", "sum")


def test_the_last_line_says_what_the_sum_does():
    main = helper(1.0, 0.2)
    line = str(found_with(np.stack([main, helper(0.5, 0.1)], 1))).splitlines()[-1]
    assert line == (
        "16 batches. Added up, all lower the main loss 1.50 times as fast as alone."
    )
    foes = np.stack([main, helper(-0.6, 0.1), helper(-0.6, 0.1)], 1)
    line = str(found_with(foes)).splitlines()[-1]
    assert line == "16 batches. Added up, all would raise the main loss."
    lost = found_with(np.stack([-main, main], 1))  # possible across batches
    lost = str(dataclasses.replace(lost, across_batches=True))
    assert lost.endswith("The main task's own gradient cannot be told from noise.")


def test_a_diagnosis_of_nothing_is_no_error():
    nothing = found_with(np.full((3, 2), np.nan), [np.nan, np.nan])
    assert nothing.verdicts()[1] == "too few batches"
    assert np.isnan(nothing.mean).all()
    assert repr(nothing) == "Diagnosis(names=('a', 'b'), batches=3)"
    assert str(nothing).count("–") > 5
