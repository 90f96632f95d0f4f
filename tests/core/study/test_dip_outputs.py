from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dipddpm.core.compute import checkpoint
from dipddpm.core.config import DdpmConfig, Substitution
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.images import to_model
from dipddpm.core.study.dip_outputs import DipStepBank, Noised

SCHEDULE = Schedule.from_config(DdpmConfig())
STEPS = (0, 2, 30)


def images(count: int = 10) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (count, 1, 12, 12), generator=generator, dtype=torch.uint8)


def bank(noised: Noised) -> DipStepBank:
    options = Substitution(reading="fresh", channels=16, skip_channels=4)
    return DipStepBank(noised, options, STEPS, batch_size=4, seed=7)


def fitted(noised: Noised) -> DipStepBank:
    whole = bank(noised)
    while whole.images_done < len(noised):
        whole.fit_next()
    return whole


def test_noised_follows_forward_process() -> None:
    noised = Noised.of(images(), SCHEDULE, seed=1)
    assert sorted(noised.t.tolist()) == list(range(0, 1000, 100))
    alpha_bar = SCHEDULE.alpha_bar[noised.t].float().view(-1, 1, 1, 1)
    expected = alpha_bar.sqrt() * to_model(images()) + (1 - alpha_bar).sqrt() * noised.eps
    torch.testing.assert_close(noised.xt, expected)
    assert Noised.of(images(), SCHEDULE, seed=1, t=56).t.tolist() == [56] * 10


def test_dip_step_bank_starts_independent_of_xt_and_approaches_it() -> None:
    one, other = (fitted(Noised.of(images(), SCHEDULE, seed=seed)) for seed in (1, 2))
    assert torch.equal(one.outputs_after(0), other.outputs_after(0))
    assert not torch.equal(one.outputs_after(2), other.outputs_after(2))
    distances = [float((one.outputs_after(k) - one.noised.xt).square().mean()) for k in STEPS]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 0.8 * distances[0]


def test_dip_step_bank_outputs_at_indexes_steps_per_image() -> None:
    whole = fitted(Noised.of(images(), SCHEDULE, seed=1))
    indices = torch.arange(10) % len(STEPS)
    chosen = whole.outputs_at(indices)
    for image, index in enumerate(indices.tolist()):
        assert torch.equal(chosen[image], whole.outputs_after(STEPS[index])[image])


@pytest.mark.parametrize("calls", [1, 3, 5])
def test_dip_step_bank_resumes_exactly(calls: int, tmp_path: Path) -> None:
    noised = Noised.of(images(), SCHEDULE, seed=1)
    whole, interrupted = fitted(noised), bank(noised)
    assert len(whole) == 3 * len(STEPS)
    for _ in range(calls):
        interrupted.fit_next()
    file = tmp_path / "last.safetensors"
    checkpoint.save(file, interrupted.state_dict())
    resumed = bank(noised)
    resumed.load_state_dict(checkpoint.load_state(file))
    for _ in range(calls, len(whole)):
        resumed.fit_next()
    assert resumed.images_done == len(noised)
    assert torch.equal(resumed.outputs, whole.outputs)


def test_dip_step_bank_fits_each_batch_as_the_substitution_does() -> None:
    noised = Noised.of(images(), SCHEDULE, seed=1)
    whole, oracle = fitted(noised), bank(noised).hourglass
    for n, batch in enumerate(torch.split(noised.xt, 4)):
        outputs = torch.stack(list(oracle.fit_outputs(batch, STEPS)))
        assert torch.equal(whole.outputs[:, 4 * n : 4 * n + len(batch)], outputs)
