from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import numpy as np
import pytest
from PIL import Image

from dipddpm.core import config, events
from dipddpm.core.errors import UserError
from dipddpm.core.export.figures import drawings, write
from dipddpm.core.export.snapshot import Record
from dipddpm.core.report import plots
from dipddpm.core.report.plots import ImagePanels, LinePlot, StripPlot
from dipddpm.core.report.style import COLUMN
from dipddpm.core.runs import RunsFolder

DRAWN = {"loss", "loss-by-timestep", "psnr", "fit-loss", "scores-1", "quality-time-1", "picture-restored"}
POINTS_PER_INCH = 72


def plot(record: Record, name: str) -> LinePlot:
    drawing = drawings(record)[name]
    assert isinstance(drawing, LinePlot)
    return drawing


def test_drawings_plot_values_of_history(record: Record) -> None:
    by_name = drawings(record)
    assert set(by_name) == DRAWN
    loss = plot(record, "loss")
    assert [(curve.name, list(curve.x), list(curve.y)) for curve in loss.curves] == [
        ("training", [1, 2], [0.5, 0.25]),
        ("held out", [1, 2], [0.625, 0.375]),
    ]
    psnr = plot(record, "psnr")
    assert [curve.name for curve in psnr.curves] == ["mean", "image 0", "image 1"]
    assert psnr.curves[2].y == [22.5, 24.5, 24.0]
    assert {(marker.name, marker.x, marker.y) for marker in psnr.markers} == {
        ("peak", 30, 24.0),
        ("peak", 30, 24.5),
        ("stop", 30, 23.5),
        ("stop", 35, 24.25),
    }
    strip = by_name["scores-1"]
    assert isinstance(strip, StripPlot)
    assert dict(strip.rows) == {
        "calibrated": [26.0, 25.0],
        "dip-mean @calibrated": [26.1, 25.0],
        "ddpm-mean": [25.9, 25.0],
    }
    assert "\x1b" not in by_name["picture-restored"].title


def test_figures_write_column_wide_reproducible_files(record: Record, tmp_path: Path) -> None:
    kinds = (events.EpochFinished, events.ImageSaved)
    record.history[:] = [
        msgspec.structs.replace(e, bands=[]) if hasattr(e, "bands") else e
        for e in record.history
        if isinstance(e, kinds)
    ]
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        write(record, folder)
    written = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    assert set(written) == {f"{name}.{kind}" for name in ("loss", "picture-restored") for kind in ("pdf", "svg", "png")}
    assert written == {path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()}
    for path in (tmp_path / "a").glob("*.svg"):
        width = ET.parse(path).getroot().attrib["width"]
        assert float(width.removesuffix("pt")) == pytest.approx(COLUMN.width * POINTS_PER_INCH)
    for path in (tmp_path / "a").glob("*.pdf"):
        assert (box := re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) ", path.read_bytes()))
        assert float(box[1]) == pytest.approx(COLUMN.width * POINTS_PER_INCH)
        assert b"/Type3" not in path.read_bytes()
    for path in (tmp_path / "a").glob("*.png"):
        with Image.open(path) as image:
            assert image.width == int(COLUMN.width * COLUMN.dpi)


def test_image_panels_are_drawn_undistorted_below_headings(tmp_path: Path) -> None:
    Image.new("L", (60, 30), 128).save(tmp_path / "picture.png")
    plots.save(ImagePanels("T", tmp_path / "picture.png", ["degraded", "restored"], 2), tmp_path / "out.png", COLUMN)
    pixels = np.asarray(Image.open(tmp_path / "out.png").convert("L"))
    picture = pixels == 128
    rows, columns = (np.flatnonzero(picture.mean(axis) > 0.3) for axis in (1, 0))
    assert (np.ptp(columns) + 1) / (np.ptp(rows) + 1) == pytest.approx(2, rel=0.02)
    assert (pixels[: rows.min()] < 100).any(), "no headings above the picture"


def test_psnr_plot_highlights_mean_of_many_images(record: Record) -> None:
    record.history[:] = [events.PsnrMeasured(step=step, psnr=[20.0] * 9, mean=20.0) for step in (1, 2)]
    assert [curve.name for curve in plot(record, "psnr").curves if not curve.background] == ["mean"]


def test_loss_plot_shows_steps_within_first_epoch(record: Record) -> None:
    record.history[:] = [events.Step(step=step, loss=1 / step) for step in (1, 10, 100)]
    loss = plot(record, "loss")
    assert (loss.x, loss.log_y, list(loss.curves[0].x)) == ("step", True, [1, 10, 100])


def test_drawings_refuse_run_with_nothing_to_draw(runs: RunsFolder) -> None:
    with pytest.raises(UserError, match="nothing to draw"):
        drawings(Record.of(runs.create(config.build("ddpm"))))
