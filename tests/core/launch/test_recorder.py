"""Tests of the recorder: payloads are on disk before the log names them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dipddpm.core import events
from dipddpm.core.compute import checkpoint
from dipddpm.core.ddpm.networks.tutorial import TutorialNetwork
from dipddpm.core.errors import UserError
from dipddpm.core.events import Event
from dipddpm.core.io import atomic
from dipddpm.core.launch.recorder import MOST_RESTORED, STEP_SECONDS, Recorder
from dipddpm.core.runs import EventLog, EventReader


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "images").mkdir()
    log = EventLog(tmp_path)
    yield Recorder(tmp_path, log)
    log.close()


def logged(recorder: Recorder) -> list[Any]:
    return list(EventReader(recorder.folder).read())


def test_recorder_stores_best_model_before_logging_it(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    write, append = atomic.write_atomic, EventLog.append

    def writing(path: Path, *arguments: Any, **options: Any) -> None:
        write(path, *arguments, **options)
        order.append(path.name)

    def appending(log: EventLog, event: Event) -> Event:
        order.append(type(event).__name__)
        return append(log, event)

    monkeypatch.setattr(atomic, "write_atomic", writing)
    monkeypatch.setattr(EventLog, "append", appending)
    network = TutorialNetwork(timesteps=5)
    recorder.record(events.BestModel(network=network, step=7, epoch=2, value=0.5, tensors={"z": torch.ones(2)}))
    recorder.flush()
    assert order[:2] == ["best.safetensors", "BestModelStored"]
    (stored,) = logged(recorder)
    assert (stored.step, stored.epoch, stored.value, stored.measure) == (7, 2, 0.5, "loss")
    assert stored.sha256 == checkpoint.digest(recorder.folder / stored.file)
    assert torch.equal(checkpoint.load_state(recorder.folder / stored.file)["z"], torch.ones(2))


def test_recorder_syncs_best_model_but_not_picture(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    recorder.record(events.Pictures(name="samples", images=torch.zeros(4, 1, 8, 8)))
    assert (recorder.folder / "images" / "samples.png").is_file()
    assert synced == []
    recorder.record(events.BestModel(network=TutorialNetwork(timesteps=5), step=1, value=0.5))
    recorder.flush()
    assert len(synced) == 3  # the file, its folder, and the line of the log


def test_recorder_logs_no_payload_that_it_failed_to_store(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic, "write_atomic", full)
    recorder.record(events.BestModel(network=None, step=1, value=1.0))
    with pytest.raises(OSError, match="No space left"):
        recorder.flush()
    assert EventReader(recorder.folder).read() == []


def test_recorder_limits_rate_of_steps_only(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: clock)
    for step in range(100):
        recorder.record(events.Step(step=step))
        recorder.record(events.Message(text=str(step)))
        clock += STEP_SECONDS / 8
    steps = [event.step for event in logged(recorder) if isinstance(event, events.Step)]
    assert steps == list(range(0, 100, 8))
    assert sum(isinstance(event, events.Message) for event in logged(recorder)) == 100


def test_recorder_stores_pictures_as_laid_out_png(recorder: Recorder) -> None:
    images = torch.linspace(0, 1, 3 * 28 * 28).view(3, 1, 28, 28)
    recorder.record(events.Pictures(name="samples", images=images, step=12, title="T", columns=3, panels=("a", "b")))
    recorder.record(events.Pictures(name="iterate", images=images, step=12, numbered=True))
    first, second = logged(recorder)
    assert (first.file, first.name, first.step, first.title, first.panels) == (
        "images/samples.png",
        "samples",
        12,
        "T",
        ["a", "b"],
    )
    assert second.file == "images/iterate-000012.png"
    with Image.open(recorder.folder / first.file) as png:
        assert png.format == "PNG"
        assert png.width == 3 * 28 * 4 + 4 * 2, "expected three columns, enlarged by 4, with gaps of 2"


def test_recorder_stores_tensors_exactly(recorder: Recorder) -> None:
    y = torch.tensor([[-0.3, 1.7, 0.123456789]])
    recorder.record(events.Tensors(name="measurement", tensors={"y": y}))
    assert torch.equal(checkpoint.load_state(recorder.folder / "measurement.safetensors")["y"], y)
    (stored,) = logged(recorder)
    assert (stored.file, stored.sha256) == ("measurement.safetensors", checkpoint.digest(recorder.folder / stored.file))


def test_recorder_refuses_item_that_is_no_event_or_payload(recorder: Recorder) -> None:
    with pytest.raises(TypeError, match="yielded a str"):
        recorder.record("loss 0.3")  # type: ignore[arg-type]


def test_recorder_stores_document_under_its_name(recorder: Recorder) -> None:
    recorder.record(events.Document(name="scores.json", text='{"gain": "+0.4 dB ±"}'))
    assert (recorder.folder / "scores.json").read_text(encoding="utf-8") == '{"gain": "+0.4 dB ±"}'
    (stored,) = logged(recorder)
    assert (stored.file, stored.sha256) == ("scores.json", checkpoint.digest(recorder.folder / "scores.json"))


def test_recorder_stores_each_restored_image_at_its_own_size(recorder: Recorder) -> None:
    generator = torch.Generator().manual_seed(0)
    sizes = [(1, 3, 5), (3, 20, 31), (1, 112, 7)]
    restored = [1.4 * torch.rand(size, generator=generator) - 0.2 for size in sizes]
    degraded = [torch.rand(size, generator=generator) for size in sizes]
    names = ["grey", "My photo", "\u5199\u771f"]
    recorder.record(events.RestoredImages(names=names, restored=restored, degraded=degraded, step=9))
    (saved,) = logged(recorder)
    assert (saved.images, saved.step) == (3, 9)
    for kind, files, tensors in (("restored", saved.files, restored), ("degraded", saved.degraded, degraded)):
        assert files == [f"images/{name}-{kind}.png" for name in names]
        for file, tensor in zip(files, tensors, strict=True):
            # Pillow reads the file independently of the program's own reader.
            with Image.open(recorder.folder / file) as png:
                pixels = np.atleast_3d(np.asarray(png))
            expected = np.rint(np.float32(255) * np.clip(tensor.numpy().transpose(1, 2, 0), 0, 1))
            assert np.array_equal(pixels, expected)


def test_recorder_limits_number_of_restored_files(recorder: Recorder) -> None:
    images = [torch.full((1, 2, 2), 0.5)] * (MOST_RESTORED + 3)
    names = [f"test-{index}" for index in range(len(images))]
    recorder.record(events.RestoredImages(names=names, restored=images, degraded=images))
    (saved,) = logged(recorder)
    assert (len(saved.files), saved.images) == (MOST_RESTORED, MOST_RESTORED + 3)
    assert len(list((recorder.folder / "images").iterdir())) == 2 * MOST_RESTORED


def test_recorder_replaces_restored_images_of_an_earlier_attempt(recorder: Recorder) -> None:
    for shade in (0.0, 1.0):
        image = torch.full((1, 4, 4), shade)
        recorder.record(events.RestoredImages(names=["x"], restored=[image], degraded=[image]))
    with Image.open(recorder.folder / "images/x-restored.png") as png:
        assert np.asarray(png).min() == 255


def test_recorder_warns_of_pixels_that_are_not_finite(recorder: Recorder) -> None:
    images = torch.rand(3, 1, 4, 4)
    images[1, 0, 0, 0] = torch.nan
    recorder.record(events.Pictures(name="samples", images=images))
    recorder.record(events.BestModel(network=None, step=1, value=None, tensors={"restored": list(images)}))
    recorder.flush()
    stored, warning, best, second = logged(recorder)
    assert (stored.file, warning.level, best.value, second.level) == ("images/samples.png", "warning", None, "warning")
    assert warning.text == "The picture samples has pixels that are not finite in 1 of 3 images, shown in magenta"
    with Image.open(recorder.folder / stored.file) as picture:
        colours = {colour for _, colour in picture.getcolors() or []}
    assert (255, 0, 255) in colours


def test_recorder_refuses_best_model_that_is_not_finite(recorder: Recorder) -> None:
    network = TutorialNetwork(timesteps=5)
    recorder.record(events.BestModel(network=network, step=1, value=0.5))
    recorder.flush()
    before = (recorder.folder / "checkpoints/best.safetensors").read_bytes()
    with torch.no_grad():
        list(network.parameters())[-1][0] = torch.nan
    with pytest.raises(UserError, match="weights of the best model, at step 2, are not finite"):
        recorder.record(events.BestModel(network=network, step=2, value=0.4))
        recorder.flush()
    assert (recorder.folder / "checkpoints/best.safetensors").read_bytes() == before


@pytest.mark.parametrize(("loss", "psnr", "named"), [(float("nan"), 20.0, "loss"), (0.1, float("nan"), "PSNR")])
def test_run_that_finishes_with_nan_has_warning(recorder: Recorder, loss: float, psnr: float, named: str) -> None:
    recorder.record(events.PsnrMeasured(step=1, psnr=[psnr], mean=psnr, loss=[loss]))
    recorder.record(events.RunFinished(seconds=1.0, step=1))
    _, warning, finished = logged(recorder)
    assert warning.level == "warning"
    assert f"its last {named} is not a number" in warning.text
    assert isinstance(finished, events.RunFinished)


def test_exact_restoration_finishes_without_warning(recorder: Recorder) -> None:
    recorder.record(events.PsnrMeasured(step=1, psnr=[float("inf")], mean=float("inf"), loss=[0.0]))
    recorder.record(events.RunFinished(seconds=1.0, step=1))
    assert [type(event) for event in logged(recorder)] == [events.PsnrMeasured, events.RunFinished]


def test_recorder_makes_filled_pixels_of_a_given_picture_opaque(recorder: Recorder, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 4)).astype(np.uint8)
    pixels[..., 3] = 200
    pixels[2:4, 3:7, 3] = 0
    path, elsewhere = tmp_path / "a.png", tmp_path / "mask.png"
    Image.fromarray(pixels).save(path)
    Image.fromarray(np.eye(9, 12, dtype=np.uint8) * 255 ^ 255).save(elsewhere)
    image = torch.from_numpy(pixels[..., :3] / 255).movedim(-1, 0)
    for mask in ("", str(path), str(elsewhere)):
        recorder.record(events.GivenRestored(file=str(path), name="a", images=[image], mask=mask))
        alpha = np.asarray(Image.open(tmp_path / "images/a-restored.png"))[..., 3]
        missing = {"": False, str(path): pixels[..., 3] == 0, str(elsewhere): np.eye(9, 12) > 0}[mask]
        np.testing.assert_array_equal(alpha, np.where(missing & (pixels[..., 3] == 0), 255, pixels[..., 3]))
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "images/a-given.png")), pixels)
