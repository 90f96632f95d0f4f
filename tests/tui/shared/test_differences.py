from __future__ import annotations

from dipddpm.core import config
from dipddpm.tui.shared.combine import differences


def test_differences_ignore_names() -> None:
    assert differences([config.build("ddpm", settings={"name": name}) for name in "ab"]) == {}


def test_differences_follow_config_order() -> None:
    one = config.build("ddpm")
    other = config.build("ddpm", settings={"ddpm.lr": 1 / 300, "seed": 3})
    differing = differences([one, other])
    assert list(differing.items()) == [("seed", ["0", "3"]), ("ddpm.lr", ["0.001", "0.003333"])]


def test_differences_show_dash_for_missing_options() -> None:
    differing = differences([config.build("ddpm"), config.build("dip"), None])
    assert differing["kind"] == ["ddpm", "dip", "-"]
    assert differing["dip.iterations"][0] == "-"
    assert differing["dip.iterations"][2] == "-"


def test_differences_distinguish_nearly_equal_values() -> None:
    one, other = (config.build("ddpm", settings={"ddpm.lr": lr}) for lr in (0.001, 0.00100001))
    assert list(differences([one, other])) == ["ddpm.lr"]
