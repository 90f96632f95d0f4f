"""What a run is asked to do: typed, validated, one TOML file. Loads no torch.

`DipRun`, `DdpmRun` and `HybridRun` are the whole configs; their sections have a file each in this package. A hybrid
method is a struct in `dipddpm.core.config.hybrid` whose `experiment` names the class that carries it out.
"""

from dipddpm.core.config.base import Field, Section
from dipddpm.core.config.build import build
from dipddpm.core.config.ddpm import DdpmConfig
from dipddpm.core.config.dip import DipConfig
from dipddpm.core.config.hybrid import DEFAULT_HYBRID, HYBRIDS, HybridOptions, Substitution
from dipddpm.core.config.oom_hints import lower_memory
from dipddpm.core.config.presets import PRESETS
from dipddpm.core.config.restore import RestoreConfig
from dipddpm.core.config.run import (
    KINDS,
    AnyRun,
    DataConfig,
    DdpmRun,
    DipRun,
    ExplanationRun,
    HybridRun,
    ImagesConfig,
    PriorConfig,
    RestoreRun,
    RunConfig,
    SharedRun,
    StudyRun,
    experiment_path,
)
from dipddpm.core.config.schema import describe
from dipddpm.core.config.study import ExplanationConfig, StudyConfig
from dipddpm.core.config.tasks import (
    TASKS,
    Deblur,
    Denoise,
    Inpaint,
    Superres,
    Task,
    TaskOptions,
    format_task,
    parse_task,
)
from dipddpm.core.config.toml import from_builtins, load, to_toml
from dipddpm.core.config.unet import UNetConfig

__all__ = [
    "DEFAULT_HYBRID",
    "HYBRIDS",
    "KINDS",
    "PRESETS",
    "TASKS",
    "AnyRun",
    "DataConfig",
    "DdpmConfig",
    "DdpmRun",
    "Deblur",
    "Denoise",
    "DipConfig",
    "DipRun",
    "ExplanationConfig",
    "ExplanationRun",
    "Field",
    "HybridOptions",
    "HybridRun",
    "ImagesConfig",
    "Inpaint",
    "PriorConfig",
    "RestoreConfig",
    "RestoreRun",
    "RunConfig",
    "Section",
    "SharedRun",
    "StudyConfig",
    "StudyRun",
    "Substitution",
    "Superres",
    "Task",
    "TaskOptions",
    "UNetConfig",
    "build",
    "describe",
    "experiment_path",
    "format_task",
    "from_builtins",
    "load",
    "lower_memory",
    "parse_task",
    "to_toml",
]
