from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import torch

from dipddpm.core import data
from dipddpm.core.compute import checkpoint
from dipddpm.core.compute.rng import derive
from dipddpm.core.config import DipConfig, Task, parse_task
from dipddpm.core.data import ImageSet, cache_folder
from dipddpm.core.degrade import degrade
from dipddpm.core.degrade.case import Case
from dipddpm.core.events import Message, Step
from dipddpm.core.experiments import dip_cache as module
from dipddpm.core.experiments.dip_cache import DipResultBank
from dipddpm.core.images import to_unit
from dipddpm.core.methods.dip import dip_fit
from tests.core.steps import until_step

TASK = parse_task("inpaint:missing=0.5,sigma=10")
DIP = DipConfig(iterations=4, channels=4, scales=1, stop="never", measure_every=2)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 3)


@pytest.fixture(scope="module")
def images() -> ImageSet:
    return data.load("fashion-mini", "train").take(range(8))


def bank_of(images: ImageSet, task: Task = TASK, dip: DipConfig = DIP, *, seed: int = 0) -> DipResultBank:
    return DipResultBank(module.measure(images, task, seed), task, dip, seed=seed)


def filled(bank: DipResultBank) -> DipResultBank:
    list(bank)
    return bank


def files() -> list[Path]:
    return sorted((cache_folder() / "dip-bank").glob("*"))


def test_dip_result_bank_fits_each_measurement(images: ImageSet) -> None:
    bank = bank_of(images, seed=5)
    items = list(bank)
    assert len(bank) == 12
    assert [item.step for item in items if isinstance(item, Step)] == list(range(1, 13))
    assert [item.text[:30] for item in items if isinstance(item, Message)] == [
        f"Bank: {count} of 8 DIP results" for count in (3, 6, 8)
    ]
    whole = bank.case
    seeds = [derive(5, f"bank measurement of train {index}") for index in range(8)]
    assert torch.equal(whole.y, degrade(TASK, to_unit(images.images), seeds)[0])
    for chunk, indices in enumerate(([0, 1, 2], [3, 4, 5], [6, 7])):
        case = Case(whole.y[indices], whole.degradation.select(indices), (len(indices), 1, 28, 28))
        fit = dip_fit(case, DIP, derive(5, f"bank {chunk}"))
        list(fit)
        assert torch.equal(bank.results[indices], torch.stack(fit.restored))


def test_dip_result_bank_reuses_cached_fits(images: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    first = filled(bank_of(images))
    assert len(files()) == 3
    monkeypatch.setattr(module, "dip_fit", None)  # any further fit would fail
    again = bank_of(images, dip=msgspec.structs.replace(DIP, measure_every=1))
    items = list(again)
    assert not [item for item in items if isinstance(item, Step)]
    assert again.step == len(again)
    assert torch.equal(again.results, first.results)
    # A smaller bank shares its chunks with the larger one.
    filled(bank_of(images.take(range(6))))


@pytest.mark.parametrize("other", ["images", "task", "dip", "seed"])
def test_dip_result_bank_refits_when_input_differs(other: str, images: ImageSet) -> None:
    few = images.take(range(3))
    filled(bank_of(few))
    made = bank_of(
        images.take(range(1, 4)) if other == "images" else few,
        parse_task("inpaint:missing=0.5,sigma=11") if other == "task" else TASK,
        msgspec.structs.replace(DIP, lr=0.02 if DIP.lr != 0.02 else 0.01) if other == "dip" else DIP,
        seed=1 if other == "seed" else 0,
    )
    assert [item.step for item in list(made) if isinstance(item, Step)] == [1, 2, 3, 4]
    assert len(files()) == 2


def test_dip_result_bank_refits_damaged_cache_file(images: ImageSet) -> None:
    few = images.take(range(3))
    before = filled(bank_of(few)).results
    (file,) = files()
    good = file.read_bytes()
    file.write_bytes(good[:-100])
    assert torch.equal(filled(bank_of(few)).results, before)
    assert file.read_bytes() == good


def test_dip_result_bank_works_without_cache(images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = images.take(range(3))
    before = filled(bank_of(few)).results
    (tmp_path / "file").touch()
    monkeypatch.setattr(module, "cache_folder", lambda: tmp_path / "file")
    assert torch.equal(filled(bank_of(few)).results, before)


@pytest.mark.parametrize("stop_after", [0, 2, 4, 5, 7, 11, 12])
def test_dip_result_bank_resumes_exactly(
    stop_after: int, images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_own_cache(name: str) -> DipResultBank:
        """Build a bank with an empty cache, so that it must fit every image itself."""
        monkeypatch.setattr(module, "cache_folder", lambda: tmp_path / name)
        return bank_of(images)

    whole = with_own_cache("whole")
    items = list(whole)
    stopped = with_own_cache("stopped")
    before = until_step(stopped, stop_after)
    checkpoint.save(tmp_path / "last.safetensors", stopped.state_dict())
    resumed = with_own_cache("resumed")
    resumed.load_state_dict(checkpoint.load_state(tmp_path / "last.safetensors"))
    assert list(resumed) == items[len(before) :]
    assert torch.equal(resumed.results, whole.results)
