"""Tests of `build` and `describe`: a config takes every valid setting, and a refusal names the invalid one."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipddpm.core import config as configs
from dipddpm.core.config import HYBRIDS, KINDS, PICTURE_METHODS, PRESETS, TASKS
from dipddpm.core.errors import UserError


def flat(config: configs.AnyRun) -> dict[str, Any]:
    """Return the values of a config by dotted key, independently of `configs.flatten`."""
    values_by_key: dict[str, Any] = {}

    def walk(value: Any, key: str) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                walk(inner, f"{key}.{name}" if key else name)
        else:
            values_by_key[key] = value

    walk(msgspec.to_builtins(config), "")
    return values_by_key


VARIANTS = [
    *[(kind, None, None) for kind in KINDS],
    *[("hybrid", method, task) for method in HYBRIDS for task in TASKS],
    *[("dip", None, task) for task in TASKS],
]


@pytest.mark.parametrize(("kind", "method", "task"), VARIANTS)
def test_describe_lists_every_option_with_its_default(kind: str, method: str | None, task: str | None) -> None:
    values = flat(configs.build(kind, method=method, task=task))
    described = {field.key: field.default for field in configs.describe(kind, method, task)}
    assert described == {k: v for k, v in values.items() if k not in {"kind", "version", "hybrid.method", "task.name"}}


@pytest.mark.parametrize(("kind", "method", "task"), VARIANTS)
def test_build_accepts_every_default_as_text(kind: str, method: str | None, task: str | None) -> None:
    default = configs.build(kind, method=method, task=task)
    for field in configs.describe(kind, method, task):
        names_noise = kind == "image" and field.key.removeprefix("task.") in configs.TaskOptions.__struct_fields__
        if isinstance(field.default, tuple) or names_noise:  # a level of the noise means that it isn't estimated
            continue
        text = str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
        assert configs.build(kind, method=method, task=task, settings={field.key: text}) == default, field.key
        assert field.description, field.key


@pytest.mark.parametrize(("kind", "method", "task"), VARIANTS)
def test_build_enforces_every_bound(kind: str, method: str | None, task: str | None) -> None:
    for field in configs.describe(kind, method, task):
        for bound, step in ((field.ge, -1), (field.le, 1)):
            if bound is None:
                continue
            with pytest.raises(UserError, match=field.key.replace(".", r"\.")):
                configs.build(kind, method=method, task=task, settings={field.key: bound + step})
        for bound in (field.gt, field.lt):
            if bound is not None:
                with pytest.raises(UserError, match=field.key.replace(".", r"\.")):
                    configs.build(kind, method=method, task=task, settings={field.key: str(bound)})


def test_build_accepts_every_choice_and_no_other() -> None:
    for kind in KINDS:
        for field in configs.describe(kind):
            for choice in field.choices:
                method = PICTURE_METHODS.get(choice) if field.key == "picture.method" else None
                task = method.tasks[0] if method else None
                assert flat(configs.build(kind, task=task, settings={field.key: choice}))[field.key] == choice
            if field.choices:
                with pytest.raises(UserError, match=field.key):
                    configs.build(kind, settings={field.key: "nonesuch"})


def test_build_applies_settings_over_preset_over_default() -> None:
    assert configs.build("ddpm").data.dataset == "fashionmnist"
    assert configs.build("ddpm", preset="quick").data.dataset == "fashion-mini"
    made = configs.build("ddpm", preset="quick", settings={"data.dataset": "mnist"})
    assert (made.data.dataset, made.ddpm.epochs) == ("mnist", PRESETS["ddpm"]["quick"]["ddpm.epochs"])  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("settings", "eta"),
    [
        ({}, 1.0),
        ({"ddpm.sampler": "dpm++"}, 1.0),
        ({"ddpm.sampler": "ddim"}, 0.0),
        ({"ddpm.sampler": "ddim", "ddpm.eta": "0.5"}, 0.5),
    ],
)
def test_build_leaves_fresh_noise_of_preset_to_its_sampler(settings: dict[str, Any], eta: float) -> None:
    assert configs.build("ddpm", preset="cpu", settings=settings).ddpm.eta == eta  # type: ignore[union-attr]


def test_build_setting_of_task_overrides_its_spec() -> None:
    made = configs.build("dip", task="inpaint:missing=0.7", settings={"task.sigma": "10"})
    assert configs.format_task(made.task) == "inpaint:missing=0.7,sigma=10"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"kind": "gan"}, "no kind of run named 'gan'"),
        ({"kind": "ddpm", "preset": "tutoral"}, "tutorial"),
        ({"kind": "ddpm", "method": "substitution"}, "takes no method"),
        ({"kind": "hybrid", "method": "substitute"}, "substitution"),
        ({"kind": "ddpm", "task": "denoise"}, "no task"),
        ({"kind": "dip", "task": "denois"}, "denoise"),
        ({"kind": "dip", "task": "denoise:sigma"}, "no value"),
        ({"kind": "dip", "task": "denoise:sigma=1000"}, "sigma must be a number from 0 to 255, not '1000'"),
        ({"kind": "dip", "task": "denoise:width=1"}, "no option 'width'"),
        ({"kind": "ddpm", "settings": {"ddpm.epoch": "3"}}, "ddpm.epochs"),
        ({"kind": "ddpm", "settings": {"dip.lr": "3"}}, "no option 'dip.lr'"),
        ({"kind": "ddpm", "settings": {"ddpm.epochs": "three"}}, "whole number"),
        ({"kind": "ddpm", "settings": {"ddpm.epochs": "1.5"}}, "whole number"),
        ({"kind": "ddpm", "settings": {"ddpm.hold_out": "perhaps"}}, "true or false"),
        ({"kind": "ddpm", "settings": {"ddpm.lr": "nan"}}, "ddpm.lr must be"),
        ({"kind": "ddpm", "settings": {"ddpm.lr": "inf"}}, "ddpm.lr must be a finite number"),
        ({"kind": "ddpm", "settings": {"ddpm.lr": "2e30"}}, "ddpm.lr must be a number up to 1e+30, not 2e+30"),
        ({"kind": "hybrid", "method": "guided", "settings": {"hybrid.weight": 1e300}}, "must be a number up to 1e+30"),
        ({"kind": "dip", "task": "denoise:noise=poisson,photons=1e300"}, "photons must be a number up to 1e"),
        ({"kind": "ddpm", "settings": {"ddpm.beta_start": "0.5"}}, "beta_start must not exceed beta_end"),
        (
            {"kind": "ddpm", "settings": {"ddpm.beta_start": "0.5"}},
            "beta_start (0.5) or ddpm.beta_end (0.02).",
        ),
        ({"kind": "dip", "settings": {"images.indices": "5-3"}}, "Change images.indices (5-3)."),
        (
            {"kind": "ddpm", "settings": {"ddpm.timesteps": "20000"}},
            "2 to 10,000, not '20000'. Give a value such as 1000",
        ),
        ({"kind": "ddpm", "settings": {"data.dataset": ""}}, "data.dataset must not be empty"),
        ({"kind": "ddpm", "settings": {"name": "x" * 201}}, "name must have at most 200 letters"),
        ({"kind": "ddpm", "settings": {"device": "gpu"}}, "device can't be "),
        ({"kind": "ddpm", "settings": {"device": "cpu\n"}}, "device can't be "),
        ({"kind": "ddpm", "settings": {"name": "x" * 201}}, "name"),
        ({"kind": "ddpm", "settings": {"name": "\udcff"}}, "bytes that are not text"),
        ({"kind": "dip", "settings": {"images.files": ("a\udcff.png",)}}, "bytes that are not text"),
        ({"kind": "dip", "settings": {"images.files": 3}}, "images.files must be a list"),
        ({"kind": "dip", "settings": {"images.indices": "9-0"}}, "must increase"),
        ({"kind": "dip", "settings": {"images.indices": "0-" + "9" * 30}}, "more than"),
        ({"kind": "dip", "settings": {"images.indices": "1,,2"}}, "images.indices"),
    ],
)
def test_build_refusal_names_what_is_wrong(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as error:
        configs.build(**arguments)
    assert words in str(error.value)


@given(st.text(max_size=30), st.text(max_size=30))
def test_build_raises_only_user_error_for_any_key_or_value(key: str, value: str) -> None:
    for wanted in (key, "ddpm.lr", "seed", "device", "data.dataset"):
        try:
            configs.build("ddpm", settings={wanted: value})
        except UserError as error:
            assert error.problem
            assert error.remedy


@given(st.lists(st.tuples(st.integers(0, 999), st.integers(0, 20)), min_size=1, max_size=5))
def test_image_indices_lists_named_ranges_in_order(parts: list[tuple[int, int]]) -> None:
    text = ",".join(f"{first}-{first + more}" if more else str(first) for first, more in parts)
    expected: list[int] = []
    for first, more in parts:
        expected += range(first, first + more + 1)
    assert configs.ImagesConfig(indices=text).image_indices() == expected


def test_removed_options_are_ignored_in_old_configs_only() -> None:
    values = msgspec.to_builtins(configs.build("hybrid"))
    values["hybrid"] |= {"far": 15.0, "full_steps": 100}
    assert configs.from_builtins(values) == configs.build("hybrid")
    with pytest.raises(UserError, match="far"):
        configs.build("hybrid", settings={"hybrid.far": "15"})
