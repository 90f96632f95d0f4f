"""Import paths of what can be built by name, so that nothing is loaded before it is needed. Loads no torch.

A checkpoint holds the name of its network and the arguments that it was built with; only names that stand here are
ever imported, so a file from a stranger can't make the program run anything else.
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
"""Networks by the name that configs and checkpoints use. Each class has `name` (its key here) and `arguments`, the
keyword arguments, plain values all, that build it again."""


def network(name: str) -> Any:
    """The class of a network. Raises UserError for a name that isn't registered."""
    if name not in NETWORKS:
        raise UserError(f"There is no network named {name!r}.", suggest(name, NETWORKS))
    return resolve(NETWORKS[name])


def resolve(path: str) -> Any:
    """The object at `package.module:Name`."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def constructor_arguments(variables: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a network's constructor from its `locals()`, taken before it sets any other variable."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in variables.items()
        if name not in {"self", "__class__"}
    }
