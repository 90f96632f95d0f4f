"""Sample quality of 28x28 grey images, offline: distances on the features of the project's own FashionMNIST classifier.

The distances are made like FID and KID but on other features, so they compare with each other and with nothing else;
`python -m scripts.sample_anchors` shows what they are for images that one knows.
"""

from dipddpm.core.metrics.evaluator import SampleEvaluator
from dipddpm.core.metrics.samples.classifier import Classifier, load_classifier
from dipddpm.core.metrics.samples.distances import frechet_distance, kernel_distance
from dipddpm.core.metrics.samples.evaluate import evaluate
from dipddpm.core.metrics.samples.nearest import (
    Nearest,
    nearest_in_features,
    nearest_in_pixels,
    nearest_pictures,
    suspected_copies,
)
from dipddpm.core.metrics.samples.reference import features_of

__all__ = [
    "Classifier",
    "Nearest",
    "SampleEvaluator",
    "evaluate",
    "features_of",
    "frechet_distance",
    "kernel_distance",
    "load_classifier",
    "nearest_in_features",
    "nearest_in_pixels",
    "nearest_pictures",
    "suspected_copies",
]
