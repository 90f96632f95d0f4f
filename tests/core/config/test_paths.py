"""Every path in a config becomes absolute when the config is built and when a run is created from it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_origin

import msgspec
import pytest

from dipddpm.core import config as configs
from dipddpm.core.config import KINDS, PRESETS, Deblur, DipRun, HybridRun, Inpaint, RestoreRun
from dipddpm.core.config.paths import with_absolute_paths
from dipddpm.core.errors import UserError
from dipddpm.core.runs import RunsFolder


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with a space in its name, and make it the home folder."""
    folder = tmp_path / "a folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder))
    return folder


def path_options() -> list[tuple[str, str]]:
    """Return each option of text whose description speaks of a file or a folder, with its kind of run."""
    words = re.compile(r"\b(files?|folders?)\b")
    return [
        (kind, field.key)
        for kind in KINDS
        for task in (("inpaint", "deblur") if PRESETS[kind] and "task" in fields_of(kind) else (None,))
        for field in configs.describe(kind, task=task)
        if words.search(field.description) and "str" in str(field.type)
    ]


def fields_of(kind: str) -> tuple[str, ...]:
    return KINDS[kind].__struct_fields__


def test_every_option_that_names_a_file_or_folder_becomes_absolute(here: Path) -> None:
    options = path_options()
    assert {key for _, key in options} >= {
        "images.files",
        "task.mask",
        "task.file",
        "data.directory",
        "data.dataset",
        "prior.run",
    }
    for kind, key in options:
        value = "folder:x" if key == "data.dataset" else "x"
        task = {"task.mask": "inpaint", "task.file": "deblur"}.get(key)
        for built in (
            configs.build(kind, task=task, settings={key: value}),
            with_absolute_paths(unchecked(kind, task, key, value)),
        ):
            (stored,) = listed(configs.flatten(built)[key])
            assert stored == value.replace("x", f"{here}/x"), (kind, key)


def unchecked(kind: str, task: str | None, key: str, value: str) -> Any:
    """Return a config that holds a value as it is."""
    section, _, name = key.partition(".")
    config = configs.build(kind, task=task)
    field = next(field for field in configs.describe(kind, task=task) if field.key == key)
    given = (value,) if get_origin(field.type) is tuple else value
    changed = msgspec.structs.replace(getattr(config, section), **{name: given})
    return msgspec.structs.replace(config, **{section: changed})


def listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("photo.png", "{here}/photo.png"),
        ("./a b.png", "{here}/a b.png"),
        ("~/photo.png", "{here}/photo.png"),
        ("~nobody-of-this-name.png", "{here}/~nobody-of-this-name.png"),
        ("../a folder/photo.png", "{here}/photo.png"),
        ("link/../photo.png", "{here}/elsewhere/photo.png"),
        ("link/photo.png", "{here}/link/photo.png"),
        ("x=1,y:2@64.png", "{here}/x=1,y:2@64.png"),
        ("/tmp/photo.png", "/tmp/photo.png"),
    ],
)
def test_paths_of_images_and_masks(given: str, stored: str, here: Path) -> None:
    (here / "elsewhere" / "deep").mkdir(parents=True)
    (here / "link").symlink_to(here / "elsewhere" / "deep")
    config = configs.build("dip", task="inpaint", settings={"images.files": (given,), "task.mask": given})
    assert isinstance(config, DipRun)
    assert isinstance(config.task, Inpaint)
    assert {*config.images.files, config.task.mask} == {stored.format(here=here)}
    assert with_absolute_paths(config) == config


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("fashionmnist", "fashionmnist"),
        ("folder:pics", "folder:{here}/pics"),
        ("folder:pics@64", "folder:{here}/pics@64"),
        ("folder:~/pics@64", "folder:{here}/pics@64"),
        ("folder:~@32", "folder:{here}@32"),
        ("folder:pics/../pics@32", "folder:{here}/pics@32"),
        ("folder:named@8", "folder:{here}/named@8"),
    ],
)
def test_paths_of_data_sets(given: str, stored: str, here: Path) -> None:
    (here / "pics").mkdir()
    (here / "named@8").mkdir()
    assert configs.build("ddpm", settings={"data.dataset": given}).data.dataset == stored.format(here=here)


def test_reference_prior_and_empty_paths_stay(here: Path) -> None:
    config = configs.build("hybrid")
    assert isinstance(config, HybridRun)
    assert (config.prior.run, config.data.directory) == ("reference", "")
    trains = configs.build("hybrid", settings={"prior.run": ""})
    assert isinstance(trains, HybridRun)
    assert trains.prior.run == ""


def test_mask_in_a_task_may_have_a_comma(here: Path) -> None:
    config = configs.build("restore", settings={"restore.tasks": ("inpaint:mask=m, d.png,sigma=2", "denoise:sigma=9")})
    assert isinstance(config, RestoreRun)
    assert config.restore.tasks == (f"inpaint:mask={here}/m, d.png,sigma=2", "denoise:sigma=9")
    task = configs.parse_task(config.restore.tasks[0])
    assert isinstance(task, Inpaint)
    assert (task.mask, task.sigma) == (f"{here}/m, d.png", 2.0)
    with pytest.raises(UserError, match="no option 'sgima'"):
        configs.parse_task("inpaint:mask=m.png,sgima=2")


def test_kernel_file_becomes_absolute(here: Path) -> None:
    config = configs.build("dip", task="deblur:kernel=file,file=k, 1.npy")
    assert isinstance(config, DipRun)
    assert isinstance(config.task, Deblur)
    assert config.task.file == config.task.file_path() == f"{here}/k, 1.npy"
    compared = configs.build("restore", settings={"restore.tasks": ("deblur:kernel=file,file=k.npy",)})
    assert isinstance(compared, RestoreRun)
    assert compared.restore.tasks == (f"deblur:kernel=file,file={here}/k.npy,sigma=0",)


def test_mask_path_that_a_task_cannot_hold_is_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = here / "o,p=q"
    odd.mkdir()
    monkeypatch.chdir(odd)
    with pytest.raises(UserError, match="a comma and an equals sign"):
        configs.build("restore", settings={"restore.tasks": ("inpaint:mask=m.png",)})
    single = configs.build("dip", task="inpaint:mask=m.png")
    assert isinstance(single, DipRun)
    assert isinstance(single.task, Inpaint)
    assert single.task.mask == f"{odd}/m.png"


def test_created_run_stores_absolute_paths_and_an_old_one_keeps_its_own(runs: RunsFolder, here: Path) -> None:
    config = unchecked("dip", "inpaint", "task.mask", "mask.png")
    run = runs.create(config)
    stored = run.config()
    assert isinstance(stored, DipRun)
    assert isinstance(stored.task, Inpaint)
    assert stored.task.mask == f"{here}/mask.png"
    (run.folder / "config.toml").write_text(configs.to_toml(config))
    assert run.config() == config
