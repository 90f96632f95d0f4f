"""Tests of config.toml: every config is read back as written, and the error for an invalid file says what is wrong."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipddpm.core import config as configs
from dipddpm.core.config import KINDS, PRESETS
from dipddpm.core.errors import UserError

EVERY = [(kind, preset) for kind, presets in PRESETS.items() for preset in presets]


def refused(path: Path, content: str) -> UserError:
    path.write_text(content)
    with pytest.raises(UserError) as error:
        configs.load(path)
    return error.value


@pytest.mark.parametrize(("kind", "preset"), EVERY)
def test_toml_round_trips_every_preset(kind: str, preset: str, tmp_path: Path) -> None:
    made = configs.build(kind, preset=preset)
    (tmp_path / "config.toml").write_text(configs.to_toml(made))
    assert configs.load(tmp_path / "config.toml") == made


@pytest.mark.parametrize("method", configs.HYBRIDS)
@pytest.mark.parametrize("task", configs.TASKS)
def test_toml_round_trips_every_method_and_task(method: str, task: str, tmp_path: Path) -> None:
    made = configs.build("hybrid", method=method, task=task)
    (tmp_path / "config.toml").write_text(configs.to_toml(made))
    again = configs.load(tmp_path / "config.toml")
    assert again == made
    assert again.method == method


def test_load_reads_former_names_of_options(tmp_path: Path) -> None:
    made = configs.build("dip", task="denoise:noise=poisson,photons=9")
    path = tmp_path / "config.toml"
    path.write_text(configs.to_toml(made).replace("photons = ", "peak = "))
    assert "peak = 9" in path.read_text()
    assert configs.load(path) == made


@given(
    name=st.text(st.characters(codec="utf-8"), max_size=200),
    seed=st.integers(0, 2**63 - 1),
    lr=st.floats(min_value=0, exclude_min=True, max_value=1e30),
    files=st.lists(st.text(st.characters(codec="utf-8"))).map(tuple),
)
def test_toml_round_trips_any_text_and_number(name: str, seed: int, lr: float, files: tuple[str, ...]) -> None:
    settings = {"name": name, "seed": seed, "dip.lr": lr, "images.files": files}
    made = configs.build("dip", settings=settings)
    read = tomllib.loads(configs.to_toml(made))
    assert isinstance(made, configs.DipRun)
    assert (read["name"], read["seed"], read["dip"]["lr"]) == (name, seed, lr)
    assert read["images"]["files"] == list(made.images.files)
    assert configs.from_builtins(read) == made


def test_toml_file_lists_every_option() -> None:
    """The file is complete, so that a reader needs to know no defaults."""
    for kind in KINDS:
        read = tomllib.loads(configs.to_toml(configs.build(kind)))
        for field in configs.describe(kind):
            value = read
            for part in field.key.split("."):
                value = value[part]
            assert msgspec.convert(value, field.type) == field.default, field.key


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "has no kind"),
        ("kind = 3", "has no kind"),
        ('kind = "dbip"', "dbip"),
        ('kind = "ddpm"\nfoo = 1', "no option 'foo'"),
        ('kind = "ddpm"\n[ddpm]\nepochs = "3"', "ddpm.epochs must be a whole number"),
        ('kind = "ddpm"\n[ddpm]\nepochs = 0', "at least 1"),
        ('kind = "ddpm"\n[ddpm]\nlr = inf', "ddpm.lr must be a finite number"),
        ('kind = "ddpm"\nddpm = 1', "ddpm must be a table"),
        ('kind = "ddpm"\nversion = 99', "has format 99"),
        ('kind = "ddpm"\nname = 2026-01-01', "name must be text"),
        ('kind = "dip"\n[task]\nname = "denoize"', "denoize"),
        ('kind = "dip"\n[images]\nindices = "a"', "images.indices"),
        ("kind = ", "not a TOML file"),
        ("a = " + "[" * 5000, "not a TOML file"),
        ('name = "\ud800"'.encode("utf-8", "surrogatepass").decode("latin1"), "has no kind"),
    ],
)
def test_config_load_names_what_is_wrong(content: str, words: str, tmp_path: Path) -> None:
    error = refused(tmp_path / "config.toml", content)
    assert words in error.problem
    assert error.remedy


@pytest.mark.parametrize(
    ("content", "nearest"),
    [
        ('kind = "ddmp"', "ddpm"),
        ('kind = "ddpm"\n[ddpm]\nepoch = 3', "ddpm.epochs"),
        ('kind = "ddpm"\n[ddpm]\nnetwork = "tutoria"', "tutorial"),
        ('kind = "hybrid"\n[hybrid]\nmethod = "substitutoin"', "substitution"),
        ('kind = "dip"\n[task]\nname = "denoize"', "denoise"),
        ('kind = "dip"\n[task]\nname = "denoise"\nsigmo = 3.0', "task.sigma"),
    ],
)
def test_config_load_suggests_nearest_name(content: str, nearest: str, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    remedy = refused(path, content).remedy
    assert remedy.startswith(f"Did you mean {nearest}?")
    assert remedy.endswith(f" Correct it in {path}.")


def test_config_load_refuses_bytes_that_are_not_toml(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    for content in (b"\xff\xfe\x00", b"\x00" * 100, b'kind = "dd\xffpm"'):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"not a TOML file|not text in UTF-8"):
            configs.load(path)


def test_config_load_accepts_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    path, config = tmp_path / "config.toml", configs.build("dip", settings={"dip.lr": 0.02})
    path.write_bytes(b"\xef\xbb\xbf" + configs.to_toml(config).replace("\n", "\r\n").encode())
    assert configs.load(path) == config


@given(st.binary(max_size=300))
def test_config_load_raises_only_user_error_for_any_bytes(content: bytes) -> None:
    read = os.memfd_create("config")
    try:
        os.write(read, content)
        with pytest.raises(UserError):
            configs.load(Path(f"/proc/self/fd/{read}"))
    finally:
        os.close(read)


def test_config_load_refuses_pipe_and_huge_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.toml")
    with pytest.raises(UserError, match="not a regular file"):
        configs.load(tmp_path / "config.toml")
    with (tmp_path / "huge.toml").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UserError, match="too large"):
        configs.load(tmp_path / "huge.toml")
    with pytest.raises(UserError, match="can't be read"):
        configs.load(tmp_path)
