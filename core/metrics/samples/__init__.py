"""Sample quality of 28x28 grey images, offline: distances on the features of the project's own FashionMNIST classifier.

The distances are made like FID and KID but on other features, so they compare with each other and with nothing else;
`python -m scripts.sample_anchors` shows what they are for images that one knows.
"""

from dipddpm.core.metrics.samples.classifier import load_classifier
from dipddpm.core.metrics.samples.evaluate import SampleEvaluator, evaluate

__all__ = ["SampleEvaluator", "evaluate", "load_classifier"]
