"""What the papers say of their problems in the plane, held against the runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from toys.words import (
    CONVERGED,
    Claims,
    claim,
    compare,
    convergence_time,
    disputed,
    place,
    settled,
    span,
)


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
            f"at {place(fixed.path[:, -1])}, main loss {fixed.loss[:, -1].min():.2f}",
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
            f"1 → {span(helpful.max(axis=1))} at step {span(peak)} → "
            f"{span(helpful[:, -1])}",
            np.all(rises & falls & (peak > 0)),
        ),
        claim(
            source,
            "w2 quickly decreases in the beginning",
            f"1 → {span(enemy[:, -1])}; half of it by step {span(half_time)} "
            f"of {steps}",
            np.all((enemy[:, -1] < 0) & (half_time < steps / 10)),
        ),
    ]


def everywhere(runs: dict[str, dict[str, Any]]) -> Claims:
    """GCS's Figure 2, from our starting points."""
    claims = []
    for problem, methods in runs.items():
        for name in ("GCS", "weighted GCS"):
            loss = methods[name].loss
            claims.append(
                claim(
                    "GCS Fig. 2",
                    f"{problem}: {name} converges",
                    f"{settled(loss)} of {len(loss)} runs",
                    settled(loss) == len(loss),
                )
            )
        plain = methods["plain sum"].loss
        claims.append(
            claim(
                "GCS Fig. 2",
                f"{problem}: the plain sum does not",
                f"{settled(plain)} of {len(plain)} runs; main loss "
                f"{span(plain[:, -1])} in the end",
                settled(plain) == 0,
            )
        )
    return claims


def helpful_loss(methods: dict[str, Any]) -> Claims:
    """GCS's Figure 8, the rows with a loss."""
    source = "GCS Fig. 8"
    alone = convergence_time(methods["main only"].loss)
    claims = []
    for name in ("GCS", "weighted GCS"):
        time = convergence_time(methods[name].loss)
        claims.append(
            claim(
                source,
                f"L1 + L3: {name} is faster than the main loss alone",
                f"{time.mean():.1f} steps against {alone.mean():.1f}; "
                f"{compare(time, alone)}",
                time.mean() < alone.mean() and np.all(time <= alone),
            )
        )
    ours = convergence_time(methods["GCS"].loss)
    plain = methods["plain sum"]
    crossing = convergence_time(plain.loss)
    return [
        *claims,
        disputed(
            source,
            "L1 + L3: faster on every single run",
            f"{compare(ours, alone)}: from inside the circle through 0 and (1, 1) the "
            "gate never opens",
            np.all(ours < alone),
        ),
        claim(
            source,
            "L1 + L3: the plain sum fails",
            f"ends at {place(plain.path[:, -1])}, main loss {span(plain.loss[:, -1])}",
            settled(plain.loss) == 0,
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
    claims = [
        claim(
            source,
            "L1 + V: the plain sum cycles and does not converge",
            f"turned by {span(np.degrees(turned), 0)} degrees; main loss is "
            f"{span(plain.loss[:, -1] / plain.loss[:, 0])} times what it was",
            np.all(turned > 0.5) and np.all(plain.loss[:, -1] > plain.loss[:, 0]),
        )
    ]
    for name in ("GCS", "weighted GCS"):
        loss = methods[name].loss
        time = convergence_time(loss)
        claims += [
            claim(
                source,
                f"L1 + V: {name} still works",
                f"{settled(loss)} of {len(loss)} runs",
                settled(loss) == len(loss),
            ),
            disputed(
                source,
                f"L1 + V: {name} is faster than the main loss alone",
                f"{compare(time, alone)}: ⟨∇L1, V⟩ = -4‖θ‖² < 0 everywhere, the gate "
                "never opens",
                time.mean() < alone.mean(),
            ),
        ]
    return claims


def astray(methods: dict[str, Any], long: dict[str, Any], long_steps: int) -> Claims:
    """GCS's Figure 9, where the auxiliary loss pulls into the plain."""
    source = "GCS Fig. 9"
    alone = convergence_time(methods["main only"].loss)
    plain = methods["plain sum"]
    claims = []
    for name in ("GCS", "weighted GCS"):
        loss = methods[name].loss
        time, in_the_end = convergence_time(loss), convergence_time(long[name].loss)
        slowed = np.isfinite(alone) & (time > alone)
        ratio = time[slowed] / alone[slowed]
        claims += [
            claim(
                source,
                f"L2 + L4: {name} slows some runs down, and they still converge",
                f"{slowed.sum()} of {len(time)} runs, {span(ratio)} times slower",
                slowed.any() and np.all(np.isfinite(time[slowed])),
            ),
            claim(
                source,
                f"L2 + L4: {name} converges wherever the main loss alone does",
                f"{settled(loss)} of {len(time)} runs; alone "
                f"{settled(methods['main only'].loss)}",
                np.all(np.isfinite(time[np.isfinite(alone)])),
            ),
            disputed(
                source,
                f"L2 + L4: {name} converges in all cases within "
                f"{loss.shape[1] - 1} steps",
                f"{settled(loss)} of {len(time)} runs; the others start far out on "
                "the plain, where ∇L2 vanishes",
                settled(loss) == len(time),
            ),
            claim(
                "GCS Prop. 1",
                f"L2 + L4: {name} converges in all cases in the end",
                f"{settled(long[name].loss)} of {len(time)} runs within {long_steps:,}"
                f" steps, the last at {in_the_end.max():,.0f}; alone "
                f"{settled(long['main only'].loss)}",
                settled(long[name].loss) == len(time),
            ),
        ]
    return [
        *claims,
        claim(
            source,
            "L2 + L4: the plain sum does not converge",
            f"ends at {place(plain.path[:, -1])}, main loss {span(plain.loss[:, -1])}",
            settled(plain.loss) == 0,
        ),
    ]
