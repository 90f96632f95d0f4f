from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dipddpm.core import config as configs
from dipddpm.core import events
from dipddpm.core.config import StudyRun
from dipddpm.core.events import EpochFinished, PsnrMeasured, RestorationScored, RunFinished, StopsCompared
from dipddpm.core.report import study as report
from dipddpm.core.report.document import BulletList, Heading, Page, Table, Text
from dipddpm.core.runs import Run, RunsFolder
from dipddpm.core.study.findings import Explanation
from dipddpm.core.study.published import FILE, published
from dipddpm.core.study.stages import stages
from tests.helpers import create_logged

NUMBERS = tomllib.loads(FILE.read_text())


def study(**settings: Any) -> StudyRun:
    config = configs.build("study", settings={key.replace("__", "."): value for key, value in settings.items()})
    assert isinstance(config, StudyRun)
    return config


def logged(runs: RunsFolder, config: configs.AnyRun, *logged_events: events.Event) -> Run:
    """Return a run of 480 seconds whose log holds the events."""
    return create_logged(runs, config, *logged_events, RunFinished(seconds=480.0, time=1480.0), time=1000.0)


def epochs(losses: list[float], seconds: float = 10.0) -> list[EpochFinished]:
    return [EpochFinished(epoch=n, step=n, loss=loss, seconds=seconds) for n, loss in enumerate(losses, 1)]


def chapter(page: Page, title: str) -> list[Any]:
    starts = [n for n, block in enumerate(page.blocks) if isinstance(block, Heading) and block.level == 2]
    begin = next(n for n in starts if page.blocks[n].text == title)  # type: ignore[union-attr]
    return page.blocks[begin : next((n for n in starts if n > begin), None)]


def tables(blocks: list[Any]) -> list[Table]:
    return [block for block in blocks if isinstance(block, Table)]


def test_published_matches_its_file() -> None:
    assert msgspec.to_builtins(published()) == NUMBERS
    assert len(NUMBERS["ddpm"]["epoch_loss"]) == len(NUMBERS["hybrid_substitution"]["epoch_loss"]) == 20
    assert len(NUMBERS["hybrid_substitution"]["epochs_90_to_100_loss"]) == 11


@pytest.mark.parametrize(("key", "title"), [("ddpm", "DDPM alone"), ("substitution", "The hybrid as published")])
def test_study_report_compares_losses_with_published(key: str, title: str, runs: RunsFolder) -> None:
    ours = [0.2 / n for n in range(1, 21)]
    plan = stages(study())
    stage = next(stage for stage in plan if stage.key == key)
    stage_runs = {key: logged(runs, stage.config, *epochs(ours, seconds=67.06))}
    losses, clock = tables(chapter(report.page(study(), plan, stage_runs), title))
    theirs = NUMBERS["ddpm" if key == "ddpm" else "hybrid_substitution"]
    for n, (row, published_loss, loss) in enumerate(zip(losses.rows, theirs["epoch_loss"], ours, strict=True), 1):
        assert row == [str(n), f"{published_loss:.3f}", f"{loss:.3f}", f"{loss / published_loss:.2f}"]
    seconds, total = clock.rows
    assert seconds == ["seconds per epoch", f"{theirs['seconds_per_epoch']:.2f}", "67.06", seconds[-1]]
    assert float(seconds[-1]) == pytest.approx(67.06 / theirs["seconds_per_epoch"], abs=0.005)
    assert total[1] == theirs["wall_clock"]


def test_comparison_rows_leave_missing_epochs_empty() -> None:
    assert report.comparison_rows([0.5, 0.25], [1.0]) == [["1", "0.500", "1.000", "2.00"], ["2", "0.250", "", ""]]
    assert report.comparison_rows([0.5], [1.0, 0.7], first=90)[1] == ["91", "", "0.700", ""]
    assert report.minutes("11:14") == pytest.approx(11 + 14 / 60)


def test_study_report_of_short_study_has_no_ratios(runs: RunsFolder) -> None:
    shorter = study(study__epochs=2)
    plan = stages(shorter)
    stage = next(stage for stage in plan if stage.key == "ddpm")
    stage_runs = {"ddpm": logged(runs, stage.config, *epochs([0.5, 0.25]))}
    page = report.page(shorter, plan, stage_runs)
    losses, clock = tables(chapter(page, "DDPM alone"))
    assert (losses.head, [row[0] for row in losses.rows]) == (["epoch", "published", "ours"], ["1", "2"])
    assert [len(row) for row in (*losses.rows, *clock.rows)] == [3] * 4
    assert any(isinstance(block, Text) and block.notice and "ratios" in block.text for block in page.blocks)
    (short,) = [block for block in chapter(page, "In short") if isinstance(block, BulletList)]
    assert short.texts == ["DDPM alone reaches a loss of 0.250 after 2 epochs; predicting zero scores 1."]


def test_study_report_marks_stored_epochs_of_long_run(runs: RunsFolder) -> None:
    plan = stages(study(study__full=True))
    stage = next(stage for stage in plan if stage.key == "full")
    finished = [msgspec.structs.replace(e, best=e.epoch % 2 == 0) for e in epochs([1 - n / 1000 for n in range(100)])]
    page = report.page(study(), plan, {"full": logged(runs, stage.config, *finished)})
    (table,) = tables(chapter(page, stage.title))
    assert [row[0] for row in table.rows] == [str(n) for n in range(90, 101)]
    assert [row[2] for row in table.rows] == [f"{1 - n / 1000:.3f}" for n in range(89, 100)]
    assert [bool(row[4]) for row in table.rows] == NUMBERS["hybrid_substitution"]["epochs_90_to_100_stored"]
    assert [bool(row[5]) for row in table.rows] == [n % 2 == 0 for n in range(90, 101)]


def test_study_report_states_peak_and_final_psnr_of_dip(runs: RunsFolder) -> None:
    plan = stages(study())
    measurements = [PsnrMeasured(step=n, psnr=[20.0, 22.0], mean=21.0, loss=[0.1, 0.1]) for n in (10, 20)]
    end = StopsCompared(
        step=20,
        rule="discrepancy",
        at=[10, 10],
        psnr=[24.0, 25.0],
        peak=[26.0, 27.0],
        peak_at=[12, 14],
        final=[22.0, 23.0],
    )
    page = report.page(study(), plan, {"dip": logged(runs, plan[1].config, *measurements, end)})
    blocks = chapter(page, "DIP alone")
    text = " ".join(block.text for block in blocks if isinstance(block, Text))
    assert NUMBERS["dip"]["finding"] in text
    assert "26.50 dB, at step 13" in text
    assert "22.50 dB at the last step" in text
    assert "24.50 dB" in text
    (table,) = tables(blocks)
    assert table.rows == [["images", "10", "2", ""], ["minutes, all images", "8.0", "8.0", "1.00"]]


def test_study_report_takes_explanation_numbers_from_run(
    runs: RunsFolder, explained: Callable[..., Explanation]
) -> None:
    plan, record = stages(study()), explained()
    stage = next(stage for stage in plan if stage.key == "explanation")
    run = logged(runs, stage.config)
    (run.folder / "explanation.json").write_bytes(msgspec.json.encode(record))
    page = report.page(study(), plan, {"explanation": run})
    inputs, baseline, denoised = tables(chapter(page, stage.title))
    assert ["k = 50", "0.820", "18.0%", "0.020"] in inputs.rows
    assert denoised.rows == [["25", "DDPM alone", "26.22", "0.870", "87.5%"]]
    cause, *_ = [block.text for block in chapter(page, stage.title) if isinstance(block, Text)]
    assert all(number in cause for number in ("0.980 at k = 10", "0.820 at k = 50", "1.000", "0.075", "18.0%"))
    causes, blindness = [block.texts for block in chapter(page, stage.title) if isinstance(block, BulletList)]
    assert ["as published", "0.065", "0.067", "0%", "7.54", "0.77", "30.16", "0.500", "18.13"] in baseline.rows
    assert ["test images", "", "", "", "0.25", "0.77", "1.00", "0.500", "18.13"] in baseline.rows
    assert all(
        part in blindness[0] for part in ("confirmed", "0.26 in place of 7.54", "closes 100%", "1.04 in place of")
    )
    assert all(part in blindness[1] for part in ("not in this short training", "finds 13%", "4.98"))
    (short,) = [block for block in chapter(page, "In short") if isinstance(block, BulletList)]
    assert any("blind to brightness" in text and "7.5" in text and "0.26" in text for text in short.texts)
    suspected = NUMBERS["hybrid_substitution"]["suspected_causes"]
    answers = ("not the cause", "part of the cause", "not the cause")
    for text, suspicion, answer in zip(causes, suspected, answers, strict=True):
        assert text.startswith(f"{suspicion}: {answer}. ")
    stability, timestep, combination = causes
    assert "0.0020 and 0.0010" in stability
    assert all(number in timestep for number in ("0.966", "0.820", "0.730", "200, 50, 10", "12%"))
    assert all(number in combination for number in ("0.076", "0.075", "0.237", "0.212"))


def test_study_report_of_older_explanation_has_no_chapter_on_brightness(
    runs: RunsFolder, explained: Callable[..., Explanation]
) -> None:
    plan, record = stages(study()), explained()
    record.baseline = {}
    stage = next(stage for stage in plan if stage.key == "explanation")
    run = logged(runs, stage.config)
    (run.folder / "explanation.json").write_bytes(msgspec.json.encode(record))
    text = report.page(study(), plan, {"explanation": run}).markdown()
    assert "Denoised images" in text
    assert "brightness" not in text


def test_study_report_hybrids_chapter_is_scoreboard(runs: RunsFolder) -> None:
    plan = stages(study())
    stage = next(stage for stage in plan if stage.key == "hybrids")
    scored = [
        RestorationScored(
            task="denoise:sigma=25", set="glyphs", method=method, psnr=psnr, seconds=2.0, budget_of=budget
        )
        for method, psnr, budget in (("guided", [25.0, 27.0], ""), ("dip-mean", [24.0, 25.0], "guided"))
    ]
    blocks = chapter(report.page(study(), plan, {"hybrids": logged(runs, stage.config, *scored)}), stage.title)
    (table,) = tables(blocks)
    assert table.rows == [["guided", "26.00", "2.0"], ["dip-mean, in the time of guided", "24.50", "2.0"]]
    (gain, *_) = [text for block in blocks if isinstance(block, BulletList) for text in block.texts]
    assert "guided - dip-mean: +1.50" in gain


def test_study_report_notes_shortened_settings() -> None:
    def notices(config: StudyRun) -> list[str]:
        page = report.page(config, stages(config), {})
        return [block.text for block in page.blocks if isinstance(block, Text) and block.notice]

    assert notices(study()) == []
    quick = configs.build("study", preset="quick")
    assert isinstance(quick, StudyRun)
    (notice,) = notices(quick)
    assert "not the published settings" in notice
    assert all(part in notice for part in ("fashion-mini in place of FashionMNIST", "epochs: 10 in place of 20"))
    (notice,) = notices(study(data__train_images=500))
    assert "the first 500" in notice


def test_study_report_escapes_hostile_run_files(runs: RunsFolder, tmp_path: Path) -> None:
    plan = stages(study())
    run = logged(runs, plan[0].config, *epochs([0.1]))
    outside = tmp_path / "secret.png"
    outside.write_bytes(b"secret")
    (run.folder / "images" / "samples.png").symlink_to(outside)
    (run.folder / "environment.json").write_text('{"device_name": "<script>alert(1)</script>", "host": "my-box"}')
    html = report.page(study(), plan, {"ddpm": run}).html()
    assert "<script" not in html
    assert "my-box" not in html
    assert "Samples of DDPM" not in html


def test_study_report_summary_compares_hybrid_with_baselines(runs: RunsFolder) -> None:
    def score(method: str, psnr: list[float], of: str = "") -> RestorationScored:
        return RestorationScored(task="deblur", set="glyphs", method=method, psnr=psnr, budget_of=of, seconds=2.0)

    baselines = [score("dip-mean", [20.0, 21.0], "guided"), score("ddpm-mean", [19.0, 20.0], "guided")]
    plan = stages(study())
    config = next(stage.config for stage in plan if stage.key == "hybrids")
    page = report.page(study(), plan, {"hybrids": logged(runs, config, score("guided", [22.0, 23.0]), *baselines)})
    (short,) = [block for block in chapter(page, "In short") if isinstance(block, BulletList)]
    assert short.texts == [
        "The hybrid guided reaches 22.50 dB on the mean over tasks and image sets (cells: 1).",
        "deblur on glyphs, 2 images, 1 seed: guided - dip-mean: +2.00 [+2.00, +2.00] dB (best of all rows).",
    ]
    page = report.page(study(), plan, {"hybrids": logged(runs, config)})
    assert "In short" not in [block.text for block in page.blocks if isinstance(block, Heading)]


def test_study_report_names_chapter_of_each_stage() -> None:
    plan = stages(study(study__full=True))
    page = report.page(study(), plan, {})
    for stage in plan:
        assert [block.text for block in chapter(page, stage.title)[1:]] == ["This stage has no finished run yet."]
