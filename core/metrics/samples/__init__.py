"""Sample quality of 28x28 grey images, without downloads: distances on features of a FashionMNIST classifier.

The distances are computed like FID and KID but on the features of the project's own classifier, so they can be
compared only with each other; `python -m scripts.sample_anchors` measures them on known images for orientation.
"""

from dipddpm.core.metrics.samples.classifier import load_classifier
from dipddpm.core.metrics.samples.evaluate import SampleEvaluator, evaluate

__all__ = ["SampleEvaluator", "evaluate", "load_classifier"]
