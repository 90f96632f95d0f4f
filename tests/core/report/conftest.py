"""The findings that reports are made of."""

from tests.core.study.conftest import explained

__all__ = ["explained"]
