"""The map of gains as an experiment that the worker or a notebook iterates, cell by cell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from dipddpm.core.config import MapRun
from dipddpm.core.data import folder
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.errors import UserError
from dipddpm.core.evaluation.gain_map import MapBoard
from dipddpm.core.evaluation.scoreboard import Scoreboard
from dipddpm.core.events import Item, Message, Pictures, RunStarted
from dipddpm.core.experiments.gain_map.methods import MapMethods
from dipddpm.core.experiments.gain_map.outlooks import hits
from dipddpm.core.experiments.priors import load_prior, prior_warnings
from dipddpm.core.experiments.restore.experiment import RestoreExperiment
from dipddpm.core.experiments.restore.methods import Methods
from dipddpm.core.methods.budget import Clock
from dipddpm.core.report import restore
from dipddpm.core.runs import Run, reference, trained


class MapExperiment(RestoreExperiment):
    """A run that restores the same images with a hybrid and its baselines, with each of several priors.

    A cell of the map is a prior, a degradation and a set of images. All priors of a degradation share DIP's fits alone,
    which depend on no prior.
    """

    def _make_methods(self, prior: TrainedModel, clock: Clock) -> Methods:
        config = self.config
        assert isinstance(config, MapRun)
        priors: dict[str, TrainedModel] = {}
        for run in config.prior.shown:
            name = prior_name(reference.prior_folder(run))
            if name in priors:
                problem = f"Two priors are trained on {name}, and a map couldn't tell them apart."
                raise UserError(problem, "Leave one of them out of prior.others.")
            if run == config.prior.run:
                priors[name] = prior
                continue
            model, loaded = load_prior(run, self.device)
            if model.shape != prior.shape:
                problem = f"The prior {run} is trained on images of another size than {config.prior.run}."
                raise UserError(problem, "Leave it out of prior.others.")
            priors[name] = replace(model, second=prior.second)
            self._models.append(loaded)
        return MapMethods(config, priors, clock)

    def _opening_warnings(self) -> Iterator[Item]:
        assert isinstance(self.methods, MapMethods)
        for models in self.methods.priors.values():
            yield from prior_warnings(models.prior)

    def _board(self) -> Scoreboard:
        return MapBoard(self._results_so_far())

    def _closing_items(self) -> list[Item]:
        board = self._board()
        assert isinstance(board, MapBoard)
        text = f"Held-out measurements predict correctly whether DIP helps in {hits(board).text}."
        return [*super()._closing_items(), Message(text=text)]

    def _drawings(self, board: Scoreboard) -> list[Pictures]:
        assert isinstance(board, MapBoard)
        return [restore.map_picture(board, self.step)]


def prior_name(run: Path) -> str:
    """Return what a prior is trained on, in words: `500 of fashionmnist`, or the name of a folder of images."""
    data = trained.trained_config(run).data
    if data.dataset.startswith(folder.PREFIX):
        return Path(data.dataset.removeprefix(folder.PREFIX)).name
    started = (event.images for event in Run(run).events() if isinstance(event, RunStarted))
    count = data.train_images or next(started, 0)
    return f"{count:,} of {data.dataset}" if count else data.dataset
