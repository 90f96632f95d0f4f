"""The fixture of explanations, shared with the tests of the study."""

from tests.core.study.conftest import explained

__all__ = ["explained"]
