"""Sample quality of 28x28 grey images, offline: distances on the features of the project's own FashionMNIST classifier.

The distances are made like FID and KID but on other features, so they compare with each other and with nothing else;
`python -m core.quality.anchors` shows what they are for images that one knows.
"""

from core.quality.classifier import Classifier, load_classifier
from core.quality.distances import frechet_distance, kernel_distance
from core.quality.evaluate import evaluate
from core.quality.judge import Judge
from core.quality.nearest import Nearest, beside_nearest, nearest_in_features, nearest_in_pixels, suspected_copies
from core.quality.reference import features_of

__all__ = [
    "Classifier",
    "Judge",
    "Nearest",
    "beside_nearest",
    "evaluate",
    "features_of",
    "frechet_distance",
    "kernel_distance",
    "load_classifier",
    "nearest_in_features",
    "nearest_in_pixels",
    "suspected_copies",
]
