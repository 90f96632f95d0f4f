"""The config of a run: typed, validated, and stored as one TOML file. Loads no torch.

Each kind of run has one config class, such as `DipRun`; this package has one module per section. A hybrid method is
a struct in `dipddpm.core.config.hybrid`; its `experiment` is the import path of the class that runs the method.
"""

from dipddpm.core.config.base import Field as Field
from dipddpm.core.config.build import build as build
from dipddpm.core.config.build import describe as describe
from dipddpm.core.config.build import flatten as flatten
from dipddpm.core.config.build import from_builtins as from_builtins
from dipddpm.core.config.build import load as load
from dipddpm.core.config.build import to_toml as to_toml
from dipddpm.core.config.ddpm import DdpmConfig as DdpmConfig
from dipddpm.core.config.ddpm import UNetConfig as UNetConfig
from dipddpm.core.config.dip import DipConfig as DipConfig
from dipddpm.core.config.hybrid import DEFAULT_HYBRID as DEFAULT_HYBRID
from dipddpm.core.config.hybrid import HYBRIDS as HYBRIDS
from dipddpm.core.config.hybrid import Substitution as Substitution
from dipddpm.core.config.paths import with_absolute_paths as with_absolute_paths
from dipddpm.core.config.picture import PICTURE_METHODS as PICTURE_METHODS
from dipddpm.core.config.picture import PictureConfig as PictureConfig
from dipddpm.core.config.picture import methods_for as methods_for
from dipddpm.core.config.presets import PRESETS as PRESETS
from dipddpm.core.config.run import KINDS as KINDS
from dipddpm.core.config.run import AccelerationRun as AccelerationRun
from dipddpm.core.config.run import AnyRun as AnyRun
from dipddpm.core.config.run import DataConfig as DataConfig
from dipddpm.core.config.run import DdpmRun as DdpmRun
from dipddpm.core.config.run import DipRun as DipRun
from dipddpm.core.config.run import ExplanationRun as ExplanationRun
from dipddpm.core.config.run import HybridPriorConfig as HybridPriorConfig
from dipddpm.core.config.run import HybridRun as HybridRun
from dipddpm.core.config.run import ImageRun as ImageRun
from dipddpm.core.config.run import ImagesConfig as ImagesConfig
from dipddpm.core.config.run import MapRun as MapRun
from dipddpm.core.config.run import PriorConfig as PriorConfig
from dipddpm.core.config.run import RestoreRun as RestoreRun
from dipddpm.core.config.run import RunConfig as RunConfig
from dipddpm.core.config.run import SharedRun as SharedRun
from dipddpm.core.config.run import StudyRun as StudyRun
from dipddpm.core.config.run import experiment_path as experiment_path
from dipddpm.core.config.run import lower_memory as lower_memory
from dipddpm.core.config.study import RestoreConfig as RestoreConfig
from dipddpm.core.config.tasks import TASKS as TASKS
from dipddpm.core.config.tasks import Deblur as Deblur
from dipddpm.core.config.tasks import Denoise as Denoise
from dipddpm.core.config.tasks import Inpaint as Inpaint
from dipddpm.core.config.tasks import Superres as Superres
from dipddpm.core.config.tasks import Task as Task
from dipddpm.core.config.tasks import TaskOptions as TaskOptions
from dipddpm.core.config.tasks import format_task as format_task
from dipddpm.core.config.tasks import parse_task as parse_task
