"""The console's models import no terminal library, and neither they nor the widgets import torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import dipddpm.tui.console.model
import dipddpm.tui.console.widgets

HEAVY = ("torch", "torchvision", "plotext")


def _modules(package: ModuleType) -> list[str]:
    assert package.__file__ is not None
    return [f"{package.__name__}.{path.stem}" for path in sorted(Path(package.__file__).parent.glob("[a-z]*.py"))]


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        (dipddpm.tui.console.model, (*HEAVY, "textual", "numpy", "PIL")),
        (dipddpm.tui.console.widgets, (*HEAVY, "numpy", "PIL")),
    ],
)
def test_model_and_widgets_import_no_heavy_packages(package: ModuleType, forbidden: tuple[str, ...]) -> None:
    code = f"import sys, {', '.join(_modules(package))}\nprint([name for name in {forbidden} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
