"""Tests of tasks in text form: `parse_task` inverts `format_task`, and a refusal names the invalid option."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipddpm.core.config import (
    TASKS,
    Deblur,
    Denoise,
    DipConfig,
    Inpaint,
    Superres,
    TaskOptions,
    format_task,
    parse_task,
)
from dipddpm.core.config.tasks import RestorerOptions
from dipddpm.core.errors import UserError

numbers = st.floats(0, 255, allow_nan=False)
tasks = st.one_of(
    st.builds(Denoise, sigma=numbers, blind=st.booleans()),
    st.builds(Denoise, noise=st.just("poisson"), photons=st.floats(1e-3, 1e6)),
    st.builds(Inpaint, missing=st.floats(0, 0.99), sigma=numbers),
    st.builds(Inpaint, box=st.integers(1, 50), noise=st.just("salt-and-pepper"), hit=st.floats(0, 1)),
    st.builds(Inpaint, mask=st.sampled_from(["mask.png", "a/b c.png"])),
    st.builds(Denoise, noise=st.just("poisson-gaussian"), photons=st.floats(1e-3, 1e6), sigma=numbers),
    st.builds(Denoise, noise=st.just("unknown")),
    st.builds(Superres, factor=st.sampled_from([2, 3, 4, 8])),
    st.builds(Deblur, kernel=st.just("file"), file=st.sampled_from(["k.npy", "a/b, c.png"])),
    st.builds(Deblur, kernel=st.just("motion"), width=st.floats(0.1, 100), angle=st.floats(-360, 360)),
)


@given(tasks)
def test_parse_task_inverts_format_task(task: TaskOptions) -> None:
    assert parse_task(format_task(task)) == task


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("denoise", "denoise:sigma=25"),
        ("denoise:sigma=12.5", "denoise:sigma=12.5"),
        ("denoise:sigma=50,blind=false", "denoise:sigma=50"),
        ("denoise:blind=true", "denoise:sigma=25,blind=true"),
        ("denoise:noise=poisson,photons=9", "denoise:noise=poisson,photons=9"),
        ("denoise:noise=poisson,peak=9", "denoise:noise=poisson,photons=9"),
        ("inpaint:missing=0.7,sigma=10", "inpaint:missing=0.7,sigma=10"),
        ("inpaint:box=5,missing=0.2", "inpaint:box=5,sigma=0"),
        ("denoise:noise=poisson-gaussian", "denoise:noise=poisson-gaussian,sigma=25,photons=30"),
        ("denoise:noise=unknown,blind=true", "denoise:noise=unknown"),
        ("superres:factor=4", "superres:factor=4,sigma=0"),
        ("deblur:kernel=file,file=a, b.npy,sigma=2", "deblur:kernel=file,file=a, b.npy,sigma=2"),
        ("deblur:angle=30", "deblur:kernel=gaussian,width=1.5,sigma=0"),
    ],
)
def test_format_task_omits_options_without_effect(text: str, written: str) -> None:
    assert format_task(parse_task(text)) == written


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("inpant", "Did you mean inpaint"),
        ("inpaint:mising=0.5", "Did you mean missing"),
        ("denoise:noise=poison", "Did you mean poisson"),
        ("deblur:kernel=x", "Choose one of: gaussian, motion, file"),
        ("superres:factor=5", "Choose one of: 2, 3, 4, 8"),
        ("superres:factor=2x", "The choices are 2, 3, 4, 8"),
        ("denoise:noise=poison", "The choices are gaussian, poisson, poisson-gaussian, salt-and-pepper, unknown"),
        ("denoise:sigma", "sigma=VALUE"),
        ("inpaint:sigma=2,mask= ", "mask=VALUE"),
        ("denoise:25", "noise, sigma, photons, hit or blind"),
        ("superres:scale=2", "noise, sigma, photons, hit, blind or factor"),
        ("denoise sigma=25", "denoise:NAME=VALUE"),
        ("denoise:sigma=25/255", "such as 25: standard deviation of Gaussian noise, in 8-bit grey levels"),
        ("inpaint:missing=70%", "such as 0.5: share of the pixels"),
        ("denoise:blind=maybe", "Give true or false: whether to hide"),
    ],
)
def test_parse_task_suggests_name_or_choices(text: str, words: str) -> None:
    with pytest.raises(UserError) as refused:
        parse_task(text)
    assert words in refused.value.remedy


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("denoise:sigma=256", "sigma must be a number from 0 to 255, not '256'."),
        ("inpaint:missing=70%", "missing must be a number of at least 0 and below 1, not '70%'."),
        ("deblur:width=0", "width must be a number above 0 and at most 100, not '0'."),
        ("denoise:noise=poisson,photons=0", "photons must be a number above 0, not '0'."),
        ("inpaint:box=2.5", "box must be a whole number of at least 0, not '2.5'."),
        ("denoise:sigma=", "sigma must be a number from 0 to 255."),
        ("denoise:blind=maybe", "blind must be true or false, not 'maybe'."),
    ],
)
def test_parse_task_names_allowed_values(text: str, problem: str) -> None:
    with pytest.raises(UserError) as refused:
        parse_task(text)
    assert refused.value.problem == problem


@pytest.mark.parametrize("text", ["inpaint:missing=1", "superres:factor=5", "denoise:sigma=-1", "deblur:width=0"])
def test_parse_task_names_option_out_of_bounds(text: str) -> None:
    with pytest.raises(UserError) as refused:
        parse_task(text)
    assert text.partition(":")[2].partition("=")[0] in refused.value.problem


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("denoise", "denoise:noise=unknown"),
        ("superres:factor=3", "superres:factor=3,sigma=0"),
        ("deblur:width=2", "deblur:kernel=gaussian,width=2,noise=unknown"),
        ("inpaint:mask=m.png", "inpaint:mask=m.png,sigma=0"),
        ("inpaint:mask=m.png,noise=unknown", "inpaint:mask=m.png,noise=unknown"),
        ("denoise:sigma=10", "denoise:sigma=10"),
        ("denoise:noise=gaussian", "denoise:sigma=25"),
        ("denoise:blind=true", "denoise:sigma=25,blind=true"),
        ("superres:photons=5", "superres:factor=2,sigma=0"),
    ],
)
def test_parse_task_of_given_picture_takes_noise_as_unknown_unless_named(text: str, written: str) -> None:
    assert format_task(parse_task(text, given=True)) == written


def test_has_noise_level_holds_only_for_known_noise_level() -> None:
    known = {text: parse_task(text).has_noise_level() for text in ("denoise", "inpaint", "superres:noise=poisson")}
    assert known == {"denoise": True, "inpaint": False, "superres:noise=poisson": True}
    assert not Denoise(blind=True).has_noise_level()
    assert not Denoise(noise="salt-and-pepper").has_noise_level()
    assert not Denoise(noise="unknown").has_noise_level()
    assert Denoise(noise="poisson-gaussian").has_noise_level()


def test_restorer_options_support_only_declared_tasks_and_noises() -> None:
    class OnlyGaussianDenoising(RestorerOptions, frozen=True):
        tasks = frozenset({"denoise"})
        noises = frozenset({"gaussian"})

    assert [name for name, task in TASKS.items() if OnlyGaussianDenoising.supports(task())] == ["denoise"]
    assert not OnlyGaussianDenoising.supports(Denoise(noise="poisson"))
    assert all(DipConfig.supports(task()) for task in TASKS.values())
