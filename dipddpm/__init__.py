"""An experiment console for image priors: deep image prior, diffusion models and their hybrids.

The names below are the public API; everything else may change between versions. Each name is imported on first use, so
that `import dipddpm` is fast and loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dipddpm.api import (
        degrade,
        describe,
        load_images,
        load_prior,
        methods,
        restore,
        sample,
        train_ddpm,
    )
    from dipddpm.core.compute.checkpoint import load as load_checkpoint
    from dipddpm.core.errors import UserError
    from dipddpm.core.metrics.image import psnr, ssim
    from dipddpm.core.runs import RunsFolder as Runs

_PUBLIC = {
    "degrade": "dipddpm.api:degrade",
    "describe": "dipddpm.api:describe",
    "load_images": "dipddpm.api:load_images",
    "load_prior": "dipddpm.api:load_prior",
    "methods": "dipddpm.api:methods",
    "restore": "dipddpm.api:restore",
    "sample": "dipddpm.api:sample",
    "train_ddpm": "dipddpm.api:train_ddpm",
    "load_checkpoint": "dipddpm.core.compute.checkpoint:load",
    "UserError": "dipddpm.core.errors:UserError",
    "psnr": "dipddpm.core.metrics.image:psnr",
    "ssim": "dipddpm.core.metrics.image:ssim",
    "Runs": "dipddpm.core.runs:RunsFolder",
}
"""The module and attribute that define each public name."""

__all__ = [
    "Runs",
    "UserError",
    "degrade",
    "describe",
    "load_checkpoint",
    "load_images",
    "load_prior",
    "methods",
    "psnr",
    "restore",
    "sample",
    "ssim",
    "train_ddpm",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name == "__version__":
        from dipddpm.core.runs.environment import program_version

        return program_version()
    if name not in _PUBLIC:
        raise AttributeError(f"module 'dipddpm' has no attribute {name!r}")
    module, _, attribute = _PUBLIC[name].partition(":")
    value = globals()[name] = getattr(importlib.import_module(module), attribute)
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
