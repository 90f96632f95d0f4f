from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dipddpm.core.images import picture, save_png
from dipddpm.core.report.plots import Curve, ImagePanels, LinePlot, draw, save
from dipddpm.core.report.style import COLOURS


def pixels(plot: LinePlot, path: Path) -> np.ndarray:
    save(plot, path)
    return np.asarray(Image.open(path).convert("RGB"))


def test_line_plot_draws_each_curve_in_its_colour_reproducibly(tmp_path: Path) -> None:
    curves = [Curve("one", [1, 10, 100], [1, 2, 3]), Curve("two", [1, 10, 100], [3, 2, 1], spread=[0.1, 0.1, 0.1])]
    plot = LinePlot(title="T", x="x", y="y", curves=curves, levels={"level": 2.5}, log_x=True)
    drawn = pixels(plot, tmp_path / "a.png")
    assert drawn.shape == (825, 1200, 3)
    for colour in COLOURS[:2]:
        rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert (drawn == rgb).all(2).sum() > 500
    assert (drawn != [int(COLOURS[2][i : i + 2], 16) for i in (1, 3, 5)]).any(2).all()
    save(plot, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    ("values", "shown"), [([1e-4, 0.01, 10], {"0.0001", "0.01", "10"}), ([14, 39, 59], {"20", "40", "60"})]
)
def test_logarithmic_axis_is_labelled_with_plain_numbers(values: list[float], shown: set[str]) -> None:
    figure = draw(LinePlot(title="T", x="x", y="y", curves=[Curve("one", values, values)], log_x=True))
    figure.draw_without_rendering()
    axis = figure.axes[0].xaxis
    labels = {label.get_text() for label in [*axis.get_ticklabels(), *axis.get_ticklabels(minor=True)]} - {""}
    assert labels >= shown
    assert len(labels) < 12
    assert all(float(label) > 0 for label in labels), "no powers such as 10^-2"


def test_title_of_panels_stands_above_their_headings(tmp_path: Path) -> None:
    save_png(tmp_path / "a.png", picture(torch.rand(6, 1, 8, 8), 3))
    figure = draw(ImagePanels("A title as long as the picture", tmp_path / "a.png", ["one", "two", "three"], 3))
    figure.draw_without_rendering()
    (axes,) = figure.axes
    title = next(t for t in (axes.title, axes._left_title) if t.get_text())  # type: ignore[attr-defined]
    assert all(title.get_window_extent().y0 > heading.get_window_extent().y1 for heading in axes.texts)
