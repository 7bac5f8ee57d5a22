"""One figure per rule: its trajectories on the toy problem, all on the same axes."""

from __future__ import annotations

import io
import time
from pathlib import Path

import jax
import matplotlib
import numpy as np
import optax
from _recipe import KEY, recipe
from _toy import LEARNING_RATE, losses, on_grid, pareto_front, trajectories

import auxjax
from auxjax.rules import Method

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from PIL import Image
from PIL.PngImagePlugin import PngInfo

PLANE = (-11.0, 11.0)
LOSSES = (0.0, 38.0)
COLOURS = 160  # of the palette: a small file


def draw(rules: tuple[Method, ...], figures: dict[str, Path]) -> None:
    """Runs every rule from every start, and writes the PNGs that are new or changed."""
    background = _background()
    for number, rule in enumerate(rules, start=1):
        begin = time.perf_counter()
        ways = trajectories(optimizer_of(rule), rule.takes)
        write(picture(ways, background, recipe(rule)), figures[rule.name])
        took = time.perf_counter() - begin
        print(f"[{number}/{len(rules)}] {rule.name} {took:.1f} s", flush=True)


def optimizer_of(rule: Method) -> optax.GradientTransformationExtraArgs:
    """The rule of the table with Adam behind it."""
    tx = eval(rule.call, {"auxjax": auxjax, "optax": optax})
    if "optax.adam" in rule.call:  # it owns its optimizer
        return tx
    return optax.chain(tx, optax.adam(LEARNING_RATE))


def _background():
    axis = np.linspace(*PLANE, 200)
    return axis, on_grid(axis, axis).sum(axis=0), *pareto_front()


def picture(ways: np.ndarray, background, mark: str) -> bytes:
    """A PNG; the same bytes for the same ways on the same machine.

    Args:
      ways: the parameters on their ways, `[starts, points, 2]`.
      background: of `_background()`.
      mark: kept in the file.
    """
    axis, total, front, front_losses = background
    # NumPy's arrays may go in; JAX's annotation of `vmap` keeps that of `losses`.
    values = jax.vmap(jax.vmap(losses))(ways)  # pyright: ignore[reportArgumentType]
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
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=100)
    plt.close(figure)
    return _small(buffer, mark)


def _small(png: io.BytesIO, mark: str) -> bytes:
    """With a palette, the mark, and nothing that names who wrote it or when."""
    said, buffer = PngInfo(), io.BytesIO()
    said.add_text(KEY, mark)
    image = Image.open(png).convert("RGB").quantize(COLOURS)
    image.save(buffer, format="png", optimize=True, pnginfo=said)
    return buffer.getvalue()


def write(content: bytes, path: Path) -> None:
    """Leaves a file alone that holds this already."""
    if path.exists() and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
