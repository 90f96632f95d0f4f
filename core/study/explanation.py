"""Why the published hybrid failed, as something that one iterates: every experiment, then the record and its picture.

The published network regresses eps from DIP(xt). Whether that can be done is a question of what DIP's output still
tells of eps, so the same small network and the best linear filters are given xt, DIP_k(xt) for growing k, and other
inputs that tell the suspected causes apart; see `core.study.verdicts`. Everything is learned on training images and
measured on test images.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import msgspec
import torch
from torch import Tensor

from core import data
from core.config import DataConfig, DdpmConfig, ExplanationRun, Substitution
from core.ddpm.schedule import Schedule
from core.errors import UserError
from core.events import DataLoaded, Document, Item, Message, Pictures, RunStarted, State, Step
from core.hybrid.substitution import FittedHourglass
from core.images import to_unit
from core.quality.classifier import SHAPE
from core.seeds import derive
from core.study import figures, findings
from core.study.bank import Bank, Noised
from core.study.denoising import Sides, denoise
from core.study.findings import Explanation, after
from core.study.inputs import BANDS, Input, Views, bands_of, plan
from core.study.linear import predictable_share
from core.study.trial import Lesson, Network, Trial

HOURGLASS = Substitution(reading="fresh", scales=2, channels=64, skip_channels=4)
"""The DIP: thin skips as in the original, and features enough for a batch of 32 images."""
BATCH_SIZE = 32
SHOWN_AT = 0.15
"""The share of the timesteps at which an image is shown: noised well, and still to be made out."""
FILE = "explanation.json"
"""Where the run keeps its record."""


class ExplanationExperiment:
    """Fit the DIPs, then the filters, then the networks, then denoise; each of them is a unit that is done or not.

    Between two units everything can be stored and gone on from; a unit that was cut short begins anew, and gives the
    same numbers.
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
        sets = zip(self.sets, ("train", "test"), strict=True)
        self.banks = [self._bank(images.images.to(device), steps, derive(seed, name)) for images, name in sets]
        self.views = Views(self.banks[0], self.schedule, options.fixed)
        self.plan = plan(options)
        self.found = Explanation(
            train_images=len(train),
            test_images=len(test),
            epochs=options.epochs,
            steps=steps,
            fixed=options.fixed,
            seeds=options.seeds,
            bands=BANDS,
        )
        self.weights: dict[str, Any] = {}
        """Of the two networks that denoise in the end, by input."""
        self.step = 0
        self._settled = 0
        """The step after the last unit that is done."""
        self._opened = False
        self._closed = 0

    @classmethod
    def from_config(cls, config: ExplanationRun, device: torch.device | str) -> Self:
        """Raises UserError for a data set that isn't here, is too small, or isn't grey."""
        train = _first(config.data, "train", config.explanation.train_images)
        return cls(config, train, _first(config.data, "test", config.explanation.test_images), device)

    def _bank(self, images: Tensor, steps: list[int], seed: int) -> Bank:
        noised = Noised.of(images, self.schedule, seed)
        return Bank(noised, HOURGLASS, steps, batch_size=BATCH_SIZE, seed=seed)

    def started(self) -> RunStarted:
        """Totals; a step is a batch of DIPs, a set of filters, an epoch of a network or a comparison."""
        fits = sum(len(bank) for bank in self.banks)
        filters = sum(not one.asks_x0 for one in self.plan)
        networks = sum(one.seeds for one in self.plan) * self.config.explanation.epochs
        return RunStarted(
            kind=self.config.kind,
            method=self.config.method,
            device=str(self.device),
            steps=fits + filters + networks + 1,
            images=sum(len(images) for images in self.sets),
        )

    def __iter__(self) -> Iterator[Item]:
        if not self._opened:
            self._opened = True
            for images in self.sets:
                yield DataLoaded(
                    dataset=images.name,
                    split=images.split,
                    images=len(images),
                    sha256=images.sha256,
                    source=images.source,
                )
        yield from self._fit()
        for one in self.plan:
            if not one.asks_x0 and one.name not in self.found.linear:
                yield self._filter(one)
            for seed in range(len(self.found.learned.get(one.name, [])), one.seeds):
                yield from self._learn(one, seed)
        if not self.found.denoised:
            yield self._denoise()
        for item in self._closing()[self._closed :]:
            self._closed += 1
            yield item

    def _closing(self) -> list[Item]:
        """The picture of it all, and the record."""
        picture = Pictures(
            name="explanation",
            images=figures.pixels(figures.explanation(self.found, self._strip())),
            step=self.step,
            title="Why the published hybrid failed",
            columns=1,
        )
        return [picture, Document(name=FILE, text=msgspec.json.format(msgspec.json.encode(self.found)).decode())]

    def _strip(self) -> dict[str, Tensor]:
        """A test image from the middle of the way: x0, xt, and what DIP makes of it after each k."""
        bank = self.banks[1]
        place = int((bank.noised.t - int(len(self.schedule) * SHOWN_AT)).abs().argmin())
        shown = {findings.X0: bank.noised.x0[place], findings.XT: bank.noised.xt[place]}
        shown |= {after(k): output[place] for k, output in zip(bank.steps, bank.outputs, strict=True)}
        return {name: to_unit(image).clamp(0, 1) for name, image in shown.items()}

    def state_dict(self) -> dict[str, Any]:
        """All units that are done; one under way is not among them."""
        return {
            "banks": {str(n): bank.state_dict() for n, bank in enumerate(self.banks)},
            "found": msgspec.json.encode(self.found).decode(),
            "weights": self.weights,
            "step": self._settled,
            "opened": self._opened,
            "closed": self._closed,
        }

    def load_state_dict(self, state: State) -> None:
        """Go on from where `state_dict` was called, at the beginning of the unit that was under way."""
        for n, bank in enumerate(self.banks):
            bank.load_state_dict(state["banks"][str(n)])
        self.found = msgspec.json.decode(state["found"], type=Explanation)
        self.weights = state["weights"]
        self.step = self._settled = state["step"]
        self._opened, self._closed = state["opened"], state["closed"]

    def _advance(self, loss: float | None = None) -> Step:
        self.step += 1
        return Step(step=self.step, loss=loss)

    def _fit(self) -> Iterator[Item]:
        for bank in self.banks:
            while bank.done < len(bank.noised):
                item = self._advance(bank.advance())
                self._settled = self.step
                yield item
        test = self.banks[1]
        for count, output in zip(test.steps, test.outputs, strict=True):
            self.found.distance[after(count)] = float((output - test.noised.xt).square().mean())

    def _filter(self, one: Input) -> Item:
        """One of the linear measures: a filter for each part of the timesteps."""
        test = self.banks[1]
        bands = [bands_of(bank.noised.t, len(self.schedule)) for bank in self.banks]
        given = [self.views.of(one.name, bank) for bank in self.banks]
        # One channel says it all, unless there are two inputs.
        given = [images if one.name == findings.BESIDE else images[:, :1] for images in given]
        shares = []
        for band in range(BANDS):
            inside = [of == band for of in bands]
            seen = torch.cat([images[places] for images, places in zip(given, inside, strict=True)])
            eps = torch.cat([bank.noised.eps[places] for bank, places in zip(self.banks, inside, strict=True)])
            shares.append(predictable_share(seen, eps, int(inside[0].sum())))
        self.found.linear[one.name] = shares
        if one.name in (findings.DISCREPANCY, findings.BUDGET):
            counts = torch.tensor(test.steps, dtype=torch.float64)[self.views.choice(one.name, test).cpu()]
            self.found.chosen[one.name] = _means(counts, bands[1])
        item = self._advance(1 - self.found.linear_share(one.name))
        self._settled = self.step
        return item

    def _learn(self, one: Input, seed: int) -> Iterator[Item]:
        """One network."""
        lessons = [Lesson(self.views.of(one.name, bank), bank.noised.t, one.wanted(bank.noised)) for bank in self.banks]
        trial = Trial(
            self._network(seed), *lessons, epochs=self.found.epochs, seed=derive(self.config.seed, f"trial {seed}")
        )
        for loss in trial:
            yield self._advance(loss)
        bands = _means(trial.errors(), bands_of(self.banks[1].noised.t, len(self.schedule)))
        self.found.learned.setdefault(one.name, []).append(trial.learned(bands))
        if seed == 0 and one.name in (findings.XT, after(self.found.fixed)):
            self.weights[one.name] = trial.network.module.state_dict()
        self._settled = self.step
        yield Message(text=self._told(one, seed))

    def _told(self, one: Input, seed: int) -> str:
        loss = self.found.learned[one.name][seed].loss
        if one.asks_x0:
            return f"{one.name}: error {loss:.3f}"
        linear = self.found.linear_share(one.name)
        return f"eps from {one.name}, network {seed + 1}: loss {loss:.3f}; {linear:.1%} of eps is linearly predictable"

    def _network(self, seed: int) -> Network:
        height, width = self.banks[0].noised.xt.shape[-2:]
        return Network((height, width), len(self.schedule), derive(self.config.seed, f"network {seed}"), self.device)

    def _denoise(self) -> Item:
        fixed, seed = self.found.fixed, derive(self.config.seed, "denoising")
        sides = Sides(*(self._network(0).load(self.weights[name]) for name in (findings.XT, after(fixed))))
        _, channels, height, width = self.banks[1].noised.xt.shape
        shape = (channels, height, width)
        hourglass = FittedHourglass(HOURGLASS, shape, batch_size=BATCH_SIZE, seed=seed, device=self.device)
        self.found.denoised, picture = denoise(
            self.sets[1], sides, hourglass, steps=fixed, schedule=self.schedule, seed=seed
        )
        self.step += 1
        self._settled = self.step
        return msgspec.structs.replace(picture, step=self.step)


def _first(source: DataConfig, split: Literal["train", "test"], count: int) -> data.ImageSet:
    images = data.load(source.dataset, split, root=Path(source.directory).expanduser() if source.directory else None)
    if count > len(images):
        problem = f"{images.name} has {len(images)} {split} images, not {count}."
        raise UserError(problem, f"Lower explanation.{split}_images.")
    if tuple(images.images.shape[1:]) != SHAPE:
        raise UserError("The explanation takes grey images of 28x28.", "Choose fashionmnist or fashion-mini.")
    return images.take(range(count))


def _means(values: Tensor, bands: Tensor) -> list[float]:
    """The mean in each part of the timesteps."""
    return [float(values[bands.to(values.device) == band].mean()) for band in range(BANDS)]
