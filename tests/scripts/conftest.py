"""The real images that ship with the program."""

from tests.core.metrics.conftest import train

__all__ = ["train"]
