"""Judge a restoration without the truth: try methods on a part of the measurements, and predict their quality."""

from dipddpm.core.methods.trial.perturbation import perturbed
from dipddpm.core.methods.trial.prediction import Prediction
from dipddpm.core.methods.trial.trial import Trial

__all__ = ["Prediction", "Trial", "perturbed"]
