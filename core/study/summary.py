"""What came of a study in a sentence a stage, for who reads no further. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import mean

import msgspec

from dipddpm.core.evaluation.scoreboard import Scoreboard
from dipddpm.core.events import EpochFinished, StopsCompared
from dipddpm.core.io import atomic
from dipddpm.core.runs import Run
from dipddpm.core.study.findings import XT, Explanation, after


def stage_summaries(runs_by_stage: Mapping[str, Run]) -> list[str]:
    """Of the stages that are made, in their order."""
    summaries = {
        "ddpm": lambda run: _losses(run, "DDPM alone"),
        "dip": _dip,
        "substitution": lambda run: _losses(run, "The hybrid as published, DIP's output in place of the noised image,"),
        "full": lambda run: _losses(run, "The same, trained on,"),
        "explanation": _explanation,
        "hybrids": _hybrids,
    }
    return [text for key, run in runs_by_stage.items() if (text := summaries[key](run))]


def explanation_of(run: Run) -> Explanation:
    """What the run that explains the failure has found."""
    return msgspec.json.decode(atomic.read(run.folder / "explanation.json"), type=Explanation)


def _losses(run: Run, what: str) -> str:
    epochs = [event for event in run.events() if isinstance(event, EpochFinished)]
    if not epochs:
        return ""
    return f"{what} comes to a loss of {epochs[-1].loss:.3f} in {len(epochs)} epochs; who knows nothing has 1."


def _dip(run: Run) -> str:
    ends = [event for event in run.events() if isinstance(event, StopsCompared)]
    if not ends:
        return ""
    peak, last, stop = (mean(values) for values in (ends[-1].peak, ends[-1].final, ends[-1].psnr))
    return (
        f"DIP alone rises to a PSNR of {peak:.2f} dB and falls to {last:.2f} dB as it begins to fit the noise; stopped "
        f"without knowing the truth it has {stop:.2f} dB."
    )


def _explanation(run: Run) -> str:
    record = explanation_of(run)
    fixed = after(record.fixed)
    return (
        f"Why the hybrid failed: the network is asked for the noise, and DIP takes the noise away. A linear filter can "
        f"predict {record.linear_share(XT):.0%} of it from the noised image and {record.linear_share(fixed):.0%} from "
        f"DIP's output after {record.fixed} steps."
    )


def _hybrids(run: Run) -> str:
    board = Scoreboard(run.events())
    headline = board.headline()
    if headline is None:
        return ""
    cells = list(board.cells.values())
    baselines = {"the better of DIP and diffusion in each": "", "DIP throughout": "DIP", "diffusion throughout": "DDPM"}
    gains = [
        f"{gain} dB against {name}"
        for name, key in baselines.items()
        if (gain := board.gain(headline.method, cells, key))
    ]
    many = f" on the mean of {headline.cells} tasks and sets of images" if headline.cells > 1 else ""
    compared = f": {', '.join(gains)}, each given as much time" if gains else ""
    return f"The hybrid {headline.method} has {headline.psnr:.2f} dB{many}{compared}."
