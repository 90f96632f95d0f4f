from __future__ import annotations

import pytest

from dipddpm.core.errors import suggest

KEYS = ["ddpm.lr", "dip.lr", "ddpm.batch_size", "unet.patch", "hybrid.steps", "hybrid.weight", "name"]


@pytest.mark.parametrize(
    ("wrong", "choices", "remedy"),
    [
        ("cifar", ["cifar10", "mnist"], "Did you mean cifar10?"),
        ("queue", ["resume", "rm"], "Choose one of: resume, rm."),
        ("--sigma", ["--image", "--images"], "Choose one of: --image, --images."),
        ("--epoch", ["--epochs", "--images"], "Did you mean --epochs?"),
        ("lr", KEYS, "Did you mean ddpm.lr or dip.lr?"),
        ("batch", KEYS, "Did you mean ddpm.batch_size?"),
        ("hybrid.foo", KEYS, "Choose one of: hybrid.steps, hybrid.weight."),
        ("lrr", ["dip.lr", "lr"], "Did you mean lr?"),
        ("x", [], "Choose one of: ."),
    ],
)
def test_suggest_names_near_choices_only(wrong: str, choices: list[str], remedy: str) -> None:
    assert suggest(wrong, choices) == remedy


def test_suggest_cuts_long_lists() -> None:
    choices = [f"option{number}" for number in range(80)]
    assert suggest("zzz", choices).startswith("The nearest of 80 names are option")
    assert len(suggest("zzz", choices)) < 120
