"""The last lines of a restoration whose truth is unknown."""

from __future__ import annotations

from pathlib import Path

from dipddpm.core import config as configs
from dipddpm.core import events
from dipddpm.core.runs import RunsFolder
from dipddpm.tui.shared.formatting import summary_lines
from tests.helpers import append_events

NOISE = "Gaussian noise of sigma 20.3 (19.9 to 20.8 grey levels), certain to 99%"


def predicted(image: int, name: str) -> events.QualityPredicted:
    return events.QualityPredicted(
        image=image,
        name=name,
        method="nlm",
        step=9,
        residual=19.0,
        noise=20.3,
        predicted_psnr=30.1,
        lower=29.0,
        upper=31.0,
    )


def test_result_of_one_picture_is_in_plain_words(runs: RunsFolder, tmp_path: Path) -> None:
    out = str(tmp_path / "photo-restored.png")
    run = runs.create(configs.build("image", settings={"images.given": "photo.png", "picture.out": out}))
    append_events(
        run,
        events.NoiseEstimated(image=0, kind="gaussian", text=NOISE, sigma=20.3),
        events.MethodTried(step=1, method="tv"),
        events.MethodTried(step=2, method="nlm"),
        events.MethodTried(step=2, method="nlm", chosen=True),
        predicted(0, "photo"),
        events.RestoredSaved(files=["images/photo-restored.png"], images=1, out=out),
    )
    assert summary_lines(run) == [
        f"Restored picture: {out}",
        "Method: nlm, which predicted hidden measurements best of 2 methods",
        f"Noise: {NOISE}",
        "Predicted PSNR: 30.1 dB (29.0 to 31.0) in 9 of 10 cases; the truth is not known",
        "Left over: residual 19.0, noise 20.3 grey levels",
        f"Before and after, and what was changed: {run.folder / 'images'}, or dipddpm-tui",
    ]


def test_results_of_several_pictures_are_listed(runs: RunsFolder) -> None:
    run = runs.create(configs.build("image", settings={"images.given": "a.png b.png", "picture.out": ""}))
    for index, name in enumerate(("a", "b")):
        append_events(
            run, predicted(index, name), events.RestoredSaved(files=[f"images/{name}-restored.png"], images=1)
        )
    assert summary_lines(run)[:3] == [
        "2 restored pictures:",
        f"  {run.folder / 'images/a-restored.png'}  nlm, predicted PSNR 30.1 dB (29.0 to 31.0)",
        f"  {run.folder / 'images/b-restored.png'}  nlm, predicted PSNR 30.1 dB (29.0 to 31.0)",
    ]
