"""The fixture of shipped images, shared with the tests of the metrics."""

from tests.core.metrics.conftest import train

__all__ = ["train"]
