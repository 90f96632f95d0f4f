"""The explanation of why the published hybrid failed: all its trials, then their record and picture.

The published network regresses eps from DIP(xt). Whether it can depends on the information about eps in DIP's output.
So the same small network and the best linear filters are given xt, DIP_k(xt) for growing k, and other inputs that
distinguish the suspected causes; see `core.study.findings`. All of them are trained on training images and measured on
test images. A chapter of its own explains why the samples of the published DDPM alone leave the range of images; see
`core.study.brightness`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal, Self

import msgspec
import torch
from torch import Tensor, nn

from dipddpm.core import data
from dipddpm.core.compute.rng import derive
from dipddpm.core.config import DataConfig, DdpmConfig, ExplanationRun, Substitution
from dipddpm.core.data.sources import data_loaded, load_split, opening_events
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.dip.hourglass import FittedHourglass
from dipddpm.core.errors import UserError
from dipddpm.core.events import Document, Input, Item, Message, Pictures, RunStarted, StateDict, Step
from dipddpm.core.images import to_unit
from dipddpm.core.metrics.samples.classifier import FEATURES, SHAPE
from dipddpm.core.report import study_figures
from dipddpm.core.study import findings
from dipddpm.core.study.brightness import BrightnessTrial
from dipddpm.core.study.denoising import denoise
from dipddpm.core.study.dip_outputs import DipStepBank, Noised
from dipddpm.core.study.findings import Explanation, after
from dipddpm.core.study.inputs import BANDS, InputViews, NetworkInput, bands_of, plan, predictable_share
from dipddpm.core.study.trial import Examples, TrainingTrial, trial_network

HOURGLASS = Substitution(reading="fresh", scales=2, channels=64, skip_channels=4)
"""The DIP hourglass, with thin skips as in the original, and with enough features for a batch of 32 images."""
BATCH_SIZE = 32
SHOWN_AT = 0.15
"""Timestep of the image in the picture, as a share of all timesteps: clearly noisy, but still recognisable."""
FILE = "explanation.json"
"""Name of the record's file in the run folder."""


class ExplanationExperiment:
    """A run that fits the DIPs, then the filters, then the networks, denoises with two of them, and tries the baseline.

    The filters of an input and the denoising are a job each. The state holds finished jobs only; an interrupted job is
    done again from its start, with the same numbers. Fits of DIPs and of networks and samplings resume where they were.
    """

    network: ClassVar[None] = None
    epoch = 0

    def __init__(
        self, config: ExplanationRun, train: data.ImageSet, test: data.ImageSet, device: torch.device | str
    ) -> None:
        options = config.explanation
        self.config = config
        self.sets = [train, test]
        self.device = device
        self.schedule = Schedule.from_config(DdpmConfig(), device)
        steps, seed = options.counts(), config.seed
        self.banks = []
        self.shown = test.take(range(options.test_images))
        """The test images of all measurements but those of the baseline."""
        used = [train.take(range(options.train_images)), self.shown]
        for images, name in zip(used, ("train", "test"), strict=True):
            bank_seed = derive(seed, name)
            noised = Noised.of(images.images.to(device), self.schedule, bank_seed)
            self.banks.append(DipStepBank(noised, HOURGLASS, steps, batch_size=BATCH_SIZE, seed=bank_seed))
        self.views = InputViews(self.banks[0], self.schedule, options.fixed)
        self.plan = plan(options)
        self.baseline = BrightnessTrial(train, test, options, seed=derive(seed, "baseline"), device=device)
        self.record = Explanation(
            train_images=options.train_images,
            test_images=options.test_images,
            epochs=options.epochs,
            steps=steps,
            fixed=options.fixed,
            seeds=options.seeds,
            bands=BANDS,
            baseline_images=len(self.baseline.images),
            baseline_epochs=options.baseline_epochs,
            baseline_samples=options.baseline_samples,
        )
        self.weights: dict[str, Any] = {}
        """Weights of the two networks that denoise at the end, by the name of their input."""
        self.step = 0
        self._trial: TrainingTrial | None = None
        """The training of the current network."""
        self._trial_state: StateDict | None = None
        """The state of a training that was interrupted."""

    @classmethod
    def from_config(cls, config: ExplanationRun, device: torch.device | str) -> Self:
        """Build the experiment. Raises UserError for a data set that is missing, too small, or not grey."""
        train = _load(config.data, "train", config.explanation.train_images)
        test = _load(config.data, "test", max(config.explanation.test_images, 2 * FEATURES))
        return cls(config, train, test, device)

    @property
    def inputs(self) -> Sequence[Input]:
        """The training and the test images."""
        return list(map(data_loaded, self.sets))

    def started(self) -> RunStarted:
        """Return totals.

        A step is a batch of DIPs up to its next k, an input's filters, an epoch of a network, a step of the baseline's
        trainings and samplings, or the denoising.
        """
        fits = sum(len(bank) for bank in self.banks)
        filters = sum(not network_input.predicts_x0 for network_input in self.plan)
        networks = sum(network_input.seeds for network_input in self.plan) * self.config.explanation.epochs
        return RunStarted(
            kind=self.config.kind,
            method=self.config.method,
            device=str(self.device),
            steps=fits + filters + networks + len(self.baseline) + 1,
            images=sum(len(images) for images in self.sets),
        )

    def __iter__(self) -> Iterator[Item]:
        if self.step == 0:
            yield from opening_events(self.sets)
        yield from self._fit()
        for network_input in self.plan:
            if not network_input.predicts_x0 and network_input.name not in self.record.linear:
                yield self._filter(network_input)
            for seed in range(len(self.record.trained.get(network_input.name, [])), network_input.seeds):
                yield from self._learn(network_input, seed)
        steps_before = self.step - self.baseline.step
        for step in self.baseline:
            self.step = steps_before + self.baseline.step
            yield msgspec.structs.replace(step, step=self.step, epoch=0)
        if not self.record.denoised:
            self.record.baseline = self.baseline.results()
            yield Message(text=self.record.baseline_text())
            yield self._denoise()
            yield Pictures(
                name="brightness",
                images=study_figures.pixels(study_figures.brightness(self.record, self.baseline.samples())),
                step=self.step,
                title="Samples of the published network, in true range and each scaled to its own range",
                columns=1,
            )
            yield Pictures(
                name="explanation",
                images=study_figures.pixels(study_figures.explanation(self.record, self._strip())),
                step=self.step,
                title="Why the published hybrid failed",
                columns=1,
            )
            yield Document(name=FILE, text=msgspec.json.format(msgspec.json.encode(self.record)).decode())
            yield Step(step=self.step)

    def _strip(self) -> dict[str, Tensor]:
        """Return one test image at about `SHOWN_AT` of the timesteps: x0, xt, and DIP's output after each k steps."""
        bank = self.banks[1]
        index = int((bank.noised.t - int(len(self.schedule) * SHOWN_AT)).abs().argmin())
        shown = {findings.X0: bank.noised.x0[index], findings.XT: bank.noised.xt[index]}
        shown |= {after(k): output[index] for k, output in zip(bank.steps, bank.outputs, strict=True)}
        return {name: to_unit(image).clamp(0, 1) for name, image in shown.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return all that an exact resume needs; valid after a `Step`."""
        return {
            "banks": {str(n): bank.state_dict() for n, bank in enumerate(self.banks)},
            "found": msgspec.json.encode(self.record).decode(),
            "weights": self.weights,
            "step": self.step,
            "trial": self._trial.state_dict() if self._trial else None,
            "baseline": self.baseline.state_dict(),
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Resume from a state that `state_dict` returned."""
        for n, bank in enumerate(self.banks):
            bank.load_state_dict(state["banks"][str(n)])
        self.record = msgspec.json.decode(state["found"], type=Explanation)
        self.weights = state["weights"]
        self.step = state["step"]
        self._trial_state = state.get("trial")
        self.baseline.load_state_dict(state["baseline"])

    def _advance(self, loss: float | None = None) -> Step:
        self.step += 1
        return Step(step=self.step, loss=loss)

    def _fit(self) -> Iterator[Item]:
        for bank in self.banks:
            while bank.images_done < len(bank.noised):
                yield self._advance(bank.fit_next())
        test = self.banks[1]
        for count, output in zip(test.steps, test.outputs, strict=True):
            self.record.distance[after(count)] = float((output - test.noised.xt).square().mean())

    def _filter(self, network_input: NetworkInput) -> Item:
        """Fit the best linear filter for each band of timesteps, and record its share of predictable eps."""
        test = self.banks[1]
        bands = [bands_of(bank.noised.t, len(self.schedule)) for bank in self.banks]
        inputs = [self.views.of(network_input.name, bank) for bank in self.banks]
        # The further channels hold no further information, unless there are two inputs.
        inputs = [images if network_input.name == findings.XT_WITH_DIP else images[:, :1] for images in inputs]
        shares = []
        for band in range(BANDS):
            inside = [of == band for of in bands]
            features = torch.cat([images[mask] for images, mask in zip(inputs, inside, strict=True)])
            eps = torch.cat([bank.noised.eps[mask] for bank, mask in zip(self.banks, inside, strict=True)])
            shares.append(predictable_share(features, eps, int(inside[0].sum())))
        self.record.linear[network_input.name] = shares
        if network_input.name in (findings.DISCREPANCY, findings.BUDGET):
            counts = torch.tensor(test.steps, dtype=torch.float64)[self.views.choice(network_input.name, test).cpu()]
            self.record.chosen[network_input.name] = _means(counts, bands[1])
        return self._advance(1 - self.record.linear_share(network_input.name))

    def _learn(self, network_input: NetworkInput, seed: int) -> Iterator[Item]:
        """Train one network, and measure its errors on the test images."""
        examples = [
            Examples(self.views.of(network_input.name, bank), bank.noised.t, network_input.target(bank.noised))
            for bank in self.banks
        ]
        trial = self._trial = TrainingTrial(
            self._network(seed), *examples, epochs=self.record.epochs, seed=derive(self.config.seed, f"trial {seed}")
        )
        if self._trial_state:
            trial.load_state_dict(self._trial_state)
            self._trial_state = None
        for loss in trial:
            step = self._advance(loss)
            if len(trial.curve) < trial.epochs:
                yield step
        bands = _means(trial.errors(), bands_of(self.banks[1].noised.t, len(self.schedule)))
        self.record.trained.setdefault(network_input.name, []).append(trial.result(bands))
        if seed == 0 and network_input.name in (findings.XT, after(self.record.fixed)):
            self.weights[network_input.name] = trial.network.state_dict()
        self._trial = None
        loss = self.record.trained[network_input.name][seed].loss
        summary = f"{network_input.name}: error {loss:.3f}"
        if not network_input.predicts_x0:
            share = f"{self.record.linear_share(network_input.name):.1%} of eps is linearly predictable"
            summary = f"eps from {network_input.name}, network {seed + 1}: loss {loss:.3f}; {share}"
        yield Message(text=summary)
        yield step

    def _network(self, seed: int) -> nn.Module:
        height, width = self.banks[0].noised.xt.shape[-2:]
        return trial_network(
            (height, width), len(self.schedule), derive(self.config.seed, f"network {seed}"), self.device
        )

    def _denoise(self) -> Item:
        fixed, seed = self.record.fixed, derive(self.config.seed, "denoising")
        inputs = {findings.DDPM_ALONE: findings.XT, findings.SUBSTITUTION: after(fixed)}
        networks = {method: self._network(0) for method in inputs}
        for method, name in inputs.items():
            networks[method].load_state_dict(self.weights[name])
        _, channels, height, width = self.banks[1].noised.xt.shape
        shape = (channels, height, width)
        hourglass = FittedHourglass(HOURGLASS, shape, batch_size=BATCH_SIZE, seed=seed, device=self.device)
        self.record.denoised, picture = denoise(
            self.shown, networks, hourglass, steps=fixed, schedule=self.schedule, seed=seed
        )
        return msgspec.structs.replace(picture, step=self._advance().step)


def _load(source: DataConfig, split: Literal["train", "test"], count: int) -> data.ImageSet:
    """Load the images of a split, of which there must be at least `count`."""
    images = load_split(source, split)
    if count > len(images):
        problem = f"{images.name} has only {len(images)} {split} images, fewer than the {count} required."
        raise UserError(problem, f"Lower explanation.{split}_images to {len(images)} or less.")
    if tuple(images.images.shape[1:]) != SHAPE:
        raise UserError(
            "The explanation needs grey images of 28x28 pixels.", "Set data.dataset to fashionmnist or fashion-mini."
        )
    return images


def _means(values: Tensor, bands: Tensor) -> list[float]:
    """Return the mean in each band of timesteps."""
    return [float(values[bands.to(values.device) == band].mean()) for band in range(BANDS)]
