"""What the papers say of their problems in the plane, held against the runs."""

from __future__ import annotations

from typing import Any

import numpy as np

CONVERGED = 0.1  # the main loss below which GCS's paper calls a run converged
HOLDS, DISAGREES, FAILS = "holds", "disagrees with the paper", "FAILS"

Claims = list[dict[str, str]]


def claim(source: str, text: str, measured: str, holds: Any) -> dict[str, str]:
    """A claim that our rules have to reproduce."""
    verdict = HOLDS if holds else FAILS
    return {"claim": f"{source}: {text}", "measured": measured, "verdict": verdict}


def disputed(source: str, text: str, measured: str, holds: Any) -> dict[str, str]:
    """A claim that the paper's own formulas contradict: told, but no failure."""
    verdict = HOLDS if holds else DISAGREES
    return {"claim": f"{source}: {text}", "measured": measured, "verdict": verdict}


def convergence_time(loss: np.ndarray) -> np.ndarray:
    """Steps until the main loss is first below 0.1; infinite where it never is."""
    below = loss < CONVERGED
    return np.where(below.any(axis=1), below.argmax(axis=1), np.inf)


def check(runs: dict[str, Any], long_steps: int) -> Claims:
    """Every claim with what was measured and the verdict."""
    figure8, figure9 = runs["random"], runs["random"]["L2 + L4"]
    return [
        *olaux(runs["olaux"]),
        *everywhere(runs["examples"]),
        *helpful_loss(figure8["L1 + L3"]),
        *vector_field(figure8["L1 + V"]),
        *astray(figure9, runs["long"], long_steps),
    ]


def olaux(runs: dict[str, Any]) -> Claims:
    """OL-AUX's Figure 2."""
    source = "OL-AUX Fig. 2"
    fixed, ours = runs["fixed weights"], runs["OL-AUX"]
    helpful, enemy = ours.weights[..., -2], ours.weights[..., -1]
    peak = helpful.argmax(axis=1)
    rises = helpful.max(axis=1) > helpful[:, 0]
    falls = helpful[:, -1] < helpful[:, 0]
    half_way = (enemy[:, :1] + enemy[:, -1:]) / 2
    half_time = (enemy < half_way).argmax(axis=1)
    steps = enemy.shape[1] - 1
    reached = (ours.loss[:, -1] < 1e-3).sum()
    return [
        claim(
            source,
            "fixed weights end in a sub-optimal point",
            f"at {_point(fixed.path[:, -1])}, main loss {fixed.loss[:, -1].min():.2f}",
            np.allclose(fixed.path[:, -1], 0.5, atol=1e-3),
        ),
        claim(
            source,
            "OL-AUX finds the main optimum from all four starts",
            f"{reached} of {len(peak)}; main loss at most {ours.loss[:, -1].max():.1e}",
            reached == len(peak),
        ),
        claim(
            source,
            "w1 first increases and later decreases",
            f"1 → {_range(helpful.max(axis=1))} at step {_range(peak)} → "
            f"{_range(helpful[:, -1])}",
            np.all(rises & falls & (peak > 0)),
        ),
        claim(
            source,
            "w2 quickly decreases in the beginning",
            f"1 → {_range(enemy[:, -1])}; half of it by step {_range(half_time)} "
            f"of {steps}",
            np.all((enemy[:, -1] < 0) & (half_time < steps / 10)),
        ),
    ]


def everywhere(runs: dict[str, dict[str, Any]]) -> Claims:
    """GCS's Figure 2, from our starting points."""
    found = []
    for problem, methods in runs.items():
        for name in ("GCS", "weighted GCS"):
            loss = methods[name].loss
            found.append(
                claim(
                    "GCS Fig. 2",
                    f"{problem}: {name} converges",
                    f"{_settled(loss)} of {len(loss)} runs",
                    _settled(loss) == len(loss),
                )
            )
        plain = methods["plain sum"].loss
        found.append(
            claim(
                "GCS Fig. 2",
                f"{problem}: the plain sum does not",
                f"{_settled(plain)} of {len(plain)} runs; main loss "
                f"{_range(plain[:, -1])} in the end",
                _settled(plain) == 0,
            )
        )
    return found


def helpful_loss(methods: dict[str, Any]) -> Claims:
    """GCS's Figure 8, the rows with a loss."""
    source = "GCS Fig. 8"
    alone = convergence_time(methods["main only"].loss)
    found = []
    for name in ("GCS", "weighted GCS"):
        time = convergence_time(methods[name].loss)
        found.append(
            claim(
                source,
                f"L1 + L3: {name} is faster than the main loss alone",
                f"{time.mean():.1f} steps against {alone.mean():.1f}; "
                f"{_compare(time, alone)}",
                time.mean() < alone.mean() and np.all(time <= alone),
            )
        )
    ours = convergence_time(methods["GCS"].loss)
    plain = methods["plain sum"]
    crossing = convergence_time(plain.loss)
    return [
        *found,
        disputed(
            source,
            "L1 + L3: faster on every single run",
            f"{_compare(ours, alone)}: from inside the circle through 0 and (1, 1) the "
            "gate never opens",
            np.all(ours < alone),
        ),
        claim(
            source,
            "L1 + L3: the plain sum fails",
            f"ends at {_point(plain.path[:, -1])}, main loss "
            f"{_range(plain.loss[:, -1])}",
            _settled(plain.loss) == 0,
        ),
        disputed(
            source,
            "L1 + L3: the plain sum is never faster, by the paper's convergence time",
            f"{np.sum(crossing < alone)} of {len(alone)} runs cross main loss "
            f"{CONVERGED} sooner, and leave again",
            np.all(crossing >= alone),
        ),
    ]


def vector_field(methods: dict[str, Any]) -> Claims:
    """GCS's Figure 8, the rows with V."""
    source = "GCS Fig. 8"
    alone = convergence_time(methods["main only"].loss)
    plain = methods["plain sum"]
    angle = np.unwrap(np.arctan2(plain.path[..., 1], plain.path[..., 0]), axis=1)
    turned = np.abs(angle[:, -1] - angle[:, 0])
    found = [
        claim(
            source,
            "L1 + V: the plain sum cycles and does not converge",
            f"turned by {_range(np.degrees(turned), 0)} degrees; main loss is "
            f"{_range(plain.loss[:, -1] / plain.loss[:, 0])} times what it was",
            np.all(turned > 0.5) and np.all(plain.loss[:, -1] > plain.loss[:, 0]),
        )
    ]
    for name in ("GCS", "weighted GCS"):
        loss = methods[name].loss
        time = convergence_time(loss)
        found += [
            claim(
                source,
                f"L1 + V: {name} still works",
                f"{_settled(loss)} of {len(loss)} runs",
                _settled(loss) == len(loss),
            ),
            disputed(
                source,
                f"L1 + V: {name} is faster than the main loss alone",
                f"{_compare(time, alone)}: ⟨∇L1, V⟩ = -4‖θ‖² < 0 everywhere, the gate "
                "never opens",
                time.mean() < alone.mean(),
            ),
        ]
    return found


def astray(methods: dict[str, Any], long: dict[str, Any], long_steps: int) -> Claims:
    """GCS's Figure 9, where the auxiliary loss pulls into the plain."""
    source = "GCS Fig. 9"
    alone = convergence_time(methods["main only"].loss)
    plain = methods["plain sum"]
    found = []
    for name in ("GCS", "weighted GCS"):
        loss = methods[name].loss
        time, in_the_end = convergence_time(loss), convergence_time(long[name].loss)
        slowed = np.isfinite(alone) & (time > alone)
        ratio = time[slowed] / alone[slowed]
        found += [
            claim(
                source,
                f"L2 + L4: {name} slows some runs down, and they still converge",
                f"{slowed.sum()} of {len(time)} runs, {_range(ratio)} times slower",
                slowed.any() and np.all(np.isfinite(time[slowed])),
            ),
            claim(
                source,
                f"L2 + L4: {name} converges wherever the main loss alone does",
                f"{_settled(loss)} of {len(time)} runs; alone "
                f"{_settled(methods['main only'].loss)}",
                np.all(np.isfinite(time[np.isfinite(alone)])),
            ),
            disputed(
                source,
                f"L2 + L4: {name} converges in all cases within "
                f"{loss.shape[1] - 1} steps",
                f"{_settled(loss)} of {len(time)} runs; the others start far out on "
                "the plain, where ∇L2 vanishes",
                _settled(loss) == len(time),
            ),
            claim(
                "GCS Prop. 1",
                f"L2 + L4: {name} converges in all cases in the end",
                f"{_settled(long[name].loss)} of {len(time)} runs within {long_steps:,}"
                f" steps, the last at {in_the_end.max():,.0f}; alone "
                f"{_settled(long['main only'].loss)}",
                _settled(long[name].loss) == len(time),
            ),
        ]
    return [
        *found,
        claim(
            source,
            "L2 + L4: the plain sum does not converge",
            f"ends at {_point(plain.path[:, -1])}, main loss "
            f"{_range(plain.loss[:, -1])}",
            _settled(plain.loss) == 0,
        ),
    ]


def _settled(loss: np.ndarray) -> int:
    """How many runs are below 0.1 at their last step, not only on their way."""
    return int((loss[:, -1] < CONVERGED).sum())


def _compare(time: np.ndarray, other: np.ndarray) -> str:
    faster, slower = np.sum(time < other), np.sum(time > other)
    return f"{faster} faster, {len(time) - faster - slower} equal, {slower} slower"


def _range(values: np.ndarray, digits: int = 2) -> str:
    if not len(values):
        return "nothing"
    low, high = (f"{float(f(values)):.{digits}f}" for f in (np.min, np.max))
    if np.asarray(values).dtype.kind == "i":
        low, high = f"{np.min(values)}", f"{np.max(values)}"
    return low if low == high else f"{low}…{high}"


def _point(points: np.ndarray) -> str:
    """Where runs end, when they all end in one place."""
    return f"({_range(points[:, 0])}, {_range(points[:, 1])})"
