"""The page of a map: tables of two runs that are joined, a figure, and a refusal without cells."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import map_page
from dipddpm.core.errors import UserError
from dipddpm.core.events import RestorationScored, TrialErrors
from dipddpm.core.runs import EventLog

HELPFUL = TrialErrors(candidates=["diffusion", "fit"], products=[[[1.0, 0.0], [0.0, 1.0]]] * 2)


def log(folder: Path, prior: str, gain: float) -> Path:
    """Write a run in which DIP and diffusion with a prior gain so much over DIP, which adds as much to the classics."""
    folder.mkdir()
    rows = {
        "calibrated": gain,
        "dip-and-diffusion": gain,
        "without-dip": 0.0,
        "without-diffusion": 0.0,
        "ddpm-mean": -3.0,
    }
    events = [
        RestorationScored(
            task="denoise:sigma=25",
            set="glyphs",
            method=f"{method} with {prior}",
            psnr=[20 + value, 21 + 1.1 * value],
            budget_of=f"calibrated with {prior}" if method == "ddpm-mean" else "",
            trial=HELPFUL if method == "calibrated" else None,
        )
        for method, value in rows.items()
    ]
    dip = RestorationScored(
        task="denoise:sigma=25", set="glyphs", method="dip-mean", psnr=[20, 21], budget_of=f"calibrated with {prior}"
    )
    written = EventLog(folder)
    for event in [*events, dip]:
        written.append(event)
    written.close()
    return folder


def test_tables_join_the_priors_of_two_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [log(tmp_path / "one", "50 of mnist", 1.0), log(tmp_path / "two", "500 of mnist", -1.0)]
    map_page.measure(folders, figure=tmp_path / "map.png")
    text = capsys.readouterr().out
    assert "| all cells | DIP + DDPM worse in 1 of 2 cells, better in 1, undecided in 0 |" in text
    assert "| `denoise:sigma=25`, glyphs | 500 of mnist | -1.05 [" in text
    assert "Held-out measurements predict correctly whether DIP helps in 1 of 2 cells whose bounds exclude 0." in text
    assert "- denoise:sigma=25 on glyphs, prior 500 of mnist: DIP adds -1.05" in text
    assert (tmp_path / "map.png").stat().st_size > 1000


def test_runs_without_cells_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no cell of a map"):
        map_page.measure([tmp_path / "empty"])
