"""Import paths of the networks that can be built by name, so that each is imported on first use. Loads no torch.

A checkpoint holds the name of its network and the constructor arguments. Only names registered here are ever imported,
so an untrusted file can't make the program run any other code.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from dipddpm.core.errors import UserError, suggest

NETWORKS: dict[str, str] = {
    "tutorial": "dipddpm.core.ddpm.networks.tutorial:TutorialNetwork",
    "unet": "dipddpm.core.ddpm.networks.unet:UNet",
    "skip": "dipddpm.core.dip.networks:SkipNetwork",
    "decoder": "dipddpm.core.dip.networks:DecoderNetwork",
    "fashion-classifier": "dipddpm.core.metrics.samples.classifier:FashionClassifier",
}
"""Import paths of networks by the name that configs and checkpoints use. Each class has `name` (its key here) and
`arguments`, the keyword arguments, all builtin values, that build the network again."""


def network(name: str) -> Any:
    """Return the class of a network. Raises UserError for a name that isn't registered."""
    if name not in NETWORKS:
        raise UserError(f"There is no network named {name!r}.", suggest(name, NETWORKS))
    return resolve(NETWORKS[name])


def resolve(path: str) -> Any:
    """Import and return the object at `package.module:Name`."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def constructor_arguments(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Return a constructor's arguments from its `locals()`, which it must pass before it sets any other variable."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in variables.items()
        if name not in {"self", "__class__"}
    }
