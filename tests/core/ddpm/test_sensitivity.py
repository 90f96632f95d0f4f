from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from dipddpm.core.ddpm.networks.tutorial import TutorialNetwork
from dipddpm.core.ddpm.networks.unet import UNet
from dipddpm.core.ddpm.sensitivity import Sensitivity


class Formula(nn.Module):
    """A network of somebody else: a formula of xt."""

    def __init__(self, formula: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.formula = formula
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        assert t.shape == (len(xt),)
        return self.formula(xt) * self.scale


def centred(xt: Tensor) -> Tensor:
    return xt - xt.mean((1, 2, 3), keepdim=True)


FORMULAS: dict[str, Callable[[Tensor], Tensor]] = {
    "": lambda xt: xt,
    "brightness": centred,
    "contrast": lambda xt: xt / xt.std((1, 2, 3), keepdim=True),
    "brightness and contrast": lambda xt: centred(xt) / xt.std((1, 2, 3), keepdim=True),
}


@pytest.mark.parametrize("blind_to", FORMULAS)
def test_sensitivity_is_measured_on_any_network(blind_to: str) -> None:
    measured = Sensitivity.of(Formula(FORMULAS[blind_to]), (3, 9, 11), 50)
    assert measured.blind_to == blind_to
    text = measured.text("mine")
    assert (f"The network mine can't see the {blind_to} of its input" in text) if blind_to else text == ""


def test_sensitivity_is_relative_change() -> None:
    measured = Sensitivity.of(Formula(lambda xt: xt), (1, 30, 30), 50)
    assert measured.contrast == pytest.approx(1)
    assert measured.brightness == pytest.approx(3, rel=0.1)  # 3 sqrt(n) / |noise|


def test_published_network_is_blind_and_our_unet_is_not() -> None:
    assert Sensitivity.of(TutorialNetwork(), (1, 28, 28), 1000).blind_to == "brightness and contrast"
    unet = UNet((1, 28, 28), channels=(8, 8), dropout=0.5)
    for parameter in unet.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    unet.train()
    assert Sensitivity.of(unet, (1, 28, 28), 1000).blind_to == ""
    assert unet.training


def test_network_whose_output_is_zero_counts_as_seeing() -> None:
    measured = Sensitivity.of(Formula(torch.zeros_like), (1, 5, 5), 10)
    assert math.isnan(measured.brightness)
    assert measured.blind_to == ""
