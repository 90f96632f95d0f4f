"""What a run is asked to do: typed, validated, one TOML file. Loads no torch.

`DipRun`, `DdpmRun` and `HybridRun` are the whole configs; their sections have a file each in this package. A hybrid
method is a struct in `core.config.hybrid` whose `experiment` names the class that carries it out.
"""

from core.config.ddpm import DdpmConfig
from core.config.described import describe
from core.config.dip import DipConfig
from core.config.file import from_builtins, load, to_toml
from core.config.hybrid import DEFAULT_HYBRID, HYBRIDS, HybridOptions, Substitution
from core.config.lower import lower_memory
from core.config.overrides import PRESETS, build
from core.config.restore import RestoreConfig
from core.config.run import (
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
from core.config.section import Field, Section
from core.config.study import ExplanationConfig, StudyConfig
from core.config.tasks import TASKS, Deblur, Denoise, Inpaint, Superres, Task, TaskOptions, format_task, parse_task
from core.config.unet import UNetConfig

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
