"""One figure a rule: its trajectories on the toy problem, all on the same axes."""

from __future__ import annotations

import io
import time
from pathlib import Path

import jax
import matplotlib
import numpy as np
import optax
from _rules import Rule
from _toy import LEARNING_RATE, losses, on_grid, pareto_front, trajectories

import auxjax

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from PIL import Image

PLANE = (-11.0, 11.0)
LOSSES = (0.0, 38.0)
COLOURS = 160  # of the palette: a small file


def draw(rules: tuple[Rule, ...], figures: dict[str, Path]) -> None:
    """Runs every rule from every start and writes the PNGs."""
    background = _background()
    for number, rule in enumerate(rules, start=1):
        begin = time.perf_counter()
        ways = trajectories(optimizer_of(rule), rule.takes)
        _draw(ways, background, figures[rule.name])
        took = time.perf_counter() - begin
        print(f"[{number}/{len(rules)}] {rule.name} {took:.1f} s", flush=True)


def optimizer_of(rule: Rule) -> optax.GradientTransformationExtraArgs:
    """The rule of the table with Adam behind it."""
    tx = eval(rule.call, {"auxjax": auxjax, "optax": optax})
    if "optax.adam" in rule.call:  # it owns its optimizer
        return tx
    return optax.chain(tx, optax.adam(LEARNING_RATE))


def _background():
    axis = np.linspace(*PLANE, 200)
    return axis, on_grid(axis, axis).sum(axis=0), *pareto_front()


def _draw(ways: np.ndarray, background, path: Path) -> None:
    axis, total, front, front_losses = background
    values = jax.vmap(jax.vmap(losses))(ways)
    reached = np.stack([np.asarray(values["first"]), np.asarray(values["second"])], -1)

    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.5), layout="constrained")
    left.contour(axis, axis, total, levels=16, colors="0.85", linewidths=0.7)
    left.set(xlim=PLANE, ylim=PLANE, xlabel="θ₁", ylabel="θ₂", aspect="equal")
    right.set(xlim=LOSSES, ylim=LOSSES, xlabel="L₁", ylabel="L₂", aspect="equal")
    for axes, line, lines in ((left, front, ways), (right, front_losses, reached)):
        axes.plot(*line.T, color="0.6", linewidth=4, solid_capstyle="round", zorder=1)
        for number, way in enumerate(lines):
            colour = f"C{number}"
            axes.plot(*way.T, color=colour, linewidth=1.2)
            axes.plot(*way[0], "o", color=colour, markersize=5)
            axes.plot(*way[-1], "X", color=colour, markersize=8, mec="white", zorder=9)
    _save(figure, path)
    plt.close(figure)


def _save(figure, path: Path) -> None:
    """As a PNG with a small palette."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=100)
    image = Image.open(buffer).convert("RGB").quantize(COLOURS)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, optimize=True)
