from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from dipddpm.core.report.plots import COLOURS, Curve, LinePlot, save


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
