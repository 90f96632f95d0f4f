"""The figures of the study's report, drawn without a screen and without matplotlib's global state."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from dipddpm.core.images import to_unit
from dipddpm.core.metrics.spread import scale_each
from dipddpm.core.report.style import QUIET, STYLE
from dipddpm.core.study import findings
from dipddpm.core.study.findings import Explanation, after

DDPM, DIP, HYBRID, PUBLISHED = "#2368b0", "#c65102", "#a3286b", "#6b7783"


def pixels(figure: Figure, dpi: int = 110) -> Tensor:
    """Return a figure as an image, (1, 3, H, W) in [0, 1]."""
    with mpl.rc_context(STYLE):
        out = io.BytesIO()
        figure.savefig(out, format="png", dpi=dpi)
    with Image.open(out) as image:
        rgb = np.array(image.convert("RGB"))
    return to_unit(torch.from_numpy(rgb).permute(2, 0, 1).unsqueeze(0))


def explanation(record: Explanation, strip: Mapping[str, Tensor]) -> Figure:
    """Draw why the published hybrid failed; `strip` holds an image, (1, H, W) in [0, 1], for x0, xt and each k."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10.5, 8.2), layout="constrained")
        parts: Any = figure.subfigures(2, 1, height_ratios=[1, 3.6])
        top, below = parts
        top.suptitle(
            "The network's input: the better DIP denoises xt, the less noise is left to predict",
            x=0.01,
            ha="left",
            fontsize=11,
            fontweight="bold",
        )
        for axes, (name, image) in zip(top.subplots(1, len(strip)), strip.items(), strict=True):
            axes.imshow(image.squeeze(0).cpu().numpy(), cmap="gray", vmin=0, vmax=1)
            axes.set_axis_off()
            loss = f"\nloss {record.loss(name):.3f}" if name in record.trained else ""
            axes.set_title(f"{name}{loss}", fontsize=9, fontweight="normal", loc="center")
        corners = below.subplots(2, 2)
        _by_steps(corners[0, 0], record)
        _by_time(corners[0, 1], record)
        _by_epoch(corners[1, 0], record)
        _causes(corners[1, 1], record)
    return figure


def _by_steps(axes: Axes, record: Explanation) -> None:
    counts = record.steps
    axes.axhline(1, color=QUIET, linewidth=1, linestyle=":")
    axes.text(counts[-1], 1.01, "predicting zero", ha="right", va="bottom", color=PUBLISHED, fontsize=8)
    axes.plot(counts, [record.loss(after(k)) for k in counts], "o-", color=DIP, label="DIP(xt), network")
    linear = [1 - record.linear_share(after(k)) for k in counts]
    axes.plot(counts, linear, "s--", color=DIP, alpha=0.55, label="DIP(xt), linear filter")
    for name, style in ((findings.CLIPPED, "--"), (findings.XT, "-")):
        axes.axhline(record.loss(name), color=DDPM, linewidth=1.4, linestyle=style)
        label = "xt itself: DDPM" if name == findings.XT else "xt clipped to [-1, 1]"
        axes.text(0, record.loss(name) + 0.015, label, color=DDPM, fontsize=8, va="bottom")
    axes.set_xscale("symlog", linthresh=10, linscale=0.6)
    axes.set_xticks(counts, [str(k) for k in counts])
    axes.minorticks_off()
    axes.set(ylim=(0, 1.1), xlim=(-1, counts[-1] * 1.15), xlabel="DIP steps k", ylabel="loss of eps")
    axes.set_title("Loss against the number of DIP steps")
    axes.legend(loc="center left", fontsize=8)


def _by_time(axes: Axes, record: Explanation) -> None:
    edges = np.linspace(0, 1, record.bands + 1)
    middle = (edges[1:] + edges[:-1]) / 2
    ddpm_bands = record.trained[findings.XT][0].bands
    axes.plot(middle, ddpm_bands, "o-", color=DDPM)
    axes.text(middle[-1] + 0.02, ddpm_bands[-1], "xt", color=DDPM, fontsize=8, va="center")
    shown = [k for k in record.steps if k][-4:]
    for index, k in enumerate(shown):
        strength = 0.35 + 0.65 * (index + 1) / len(shown)
        bands = record.trained[after(k)][0].bands
        axes.plot(middle, bands, "o-", color=DIP, alpha=strength)
        axes.text(middle[-1] + 0.02, bands[-1], after(k), color=DIP, fontsize=8, va="center")
    axes.set(ylim=(0, 1.1), xlim=(0, 1.06), xlabel="t / T, from clean to pure noise", ylabel="loss of eps")
    axes.set_title("Loss against the timestep")


def _by_epoch(axes: Axes, record: Explanation) -> None:
    epochs = range(1, record.epochs + 1)
    lines = ((findings.XT, DDPM, "xt: DDPM"), (after(record.fixed), DIP, f"DIP(xt), {after(record.fixed)}"))
    for name, colour, label in lines:
        for seed, result in enumerate(record.trained[name]):
            axes.plot(epochs, result.curve, "o-", color=colour, alpha=0.8, label=label if seed == 0 else None)
    axes.set(ylim=(0, 1.1), xlabel="epoch", ylabel="loss of eps", xticks=list(epochs))
    axes.set_title(f"Loss against epochs, {record.seeds} random starts each")
    axes.legend(fontsize=8, loc="center right")


def _causes(axes: Axes, record: Explanation) -> None:
    fixed = after(record.fixed)
    bars: Sequence[tuple[str, str, str]] = (
        (findings.XT, "xt: DDPM", DDPM),
        (findings.XT_WITH_DIP, "xt and DIP(xt)", HYBRID),
        (findings.BUDGET, "DIP(xt), the best\nk for each t", DIP),
        (fixed, f"DIP(xt), {fixed}", DIP),
        (findings.DISCREPANCY, "DIP(xt), k by the\nnoise at t", DIP),
        (findings.X0, "x0: a perfect\ndenoiser", QUIET),
    )
    losses = [record.loss(name) for name, _, _ in bars]
    axes.barh(range(len(bars)), losses, color=[colour for _, _, colour in bars], height=0.62)
    for index, loss in enumerate(losses):
        axes.text(loss + 0.015, index, f"{loss:.3f}", va="center", fontsize=8)
    axes.set_yticks(range(len(bars)), [label for _, label, _ in bars], fontsize=8)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set(xlim=(0, 1.15), xlabel="loss of eps")
    axes.set_title("Loss of each input")


def brightness(record: Explanation, samples: Mapping[str, Tensor], columns: int = 8) -> Figure:
    """Draw the first samples in model space of each kind, (N, 1, H, W): on the left in true range, else scaled each."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(12, 0.72 * len(samples) + 0.3), layout="constrained")
        cells: Any = figure.subplots(len(samples), 2, squeeze=False)
        for row, (name, images) in zip(cells, samples.items(), strict=True):
            shown = images[:columns]
            pair = (to_unit(shown).clamp(0, 1), scale_each(shown))
            for axes, tiles, title in zip(row, pair, ("in true range", "each scaled to its own range"), strict=True):
                # The gaps are grey, because many samples are white.
                strip = torch.cat(list(F.pad(tiles, (1, 1, 1, 1), value=0.6)), -1)[0]
                axes.imshow(strip.cpu().numpy(), cmap="gray", vmin=0, vmax=1)
                axes.set(xticks=[], yticks=[])
                axes.grid(visible=False)
                axes.spines[:].set_visible(False)
                if name == next(iter(samples)):
                    axes.set_title(title, fontsize=10)
            label = f"{name}\nspread {record.baseline[name].spread:.2f}"
            row[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
    return figure


def restoration_curves(steps: Sequence[int], psnr: Sequence[float], loss: Sequence[float]) -> Figure:
    """Draw DIP's mean PSNR and its loss against the step."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 2.9), layout="constrained")
        axes = figure.subplots()
        axes.plot(steps, psnr, color=DIP, label="PSNR")
        axes.set(xlabel="step", ylabel="PSNR, dB")
        other = axes.twinx()
        other.plot(steps, loss, color=PUBLISHED, linestyle="--", linewidth=1.3, label="loss")
        other.set(ylabel="loss", yscale="log")
        other.grid(visible=False)
        handles = [*axes.get_lines(), *other.get_lines()]
        axes.legend(handles, [str(line.get_label()) for line in handles], loc="center right")
    return figure
