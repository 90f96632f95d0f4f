"""A fixture for tests of workers in the test's own process."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def restore_signals() -> Iterator[None]:
    """Restore the signal handlers that a worker replaces in its process."""
    kinds = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)
    handlers = [signal.getsignal(kind) for kind in kinds]
    yield
    for kind, handler in zip(kinds, handlers, strict=True):
        signal.signal(kind, handler)
