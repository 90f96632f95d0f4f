"""The items that an experiment yields: events, each a typed record on one JSON line, and payloads. Loads no torch.

The worker writes an event to the log unchanged; a reader skips kinds and fields that it doesn't know. A payload
carries tensors or text in memory; the worker stores it and logs an event that names the file.
"""

from dipddpm.core.events.base import SCHEMA as SCHEMA
from dipddpm.core.events.base import Count as Count
from dipddpm.core.events.base import Event as Event
from dipddpm.core.events.base import Timestamp as Timestamp
from dipddpm.core.events.event import ENDS as ENDS
from dipddpm.core.events.event import EVENT_TYPES as EVENT_TYPES
from dipddpm.core.events.event import BestModelStored as BestModelStored
from dipddpm.core.events.event import CheckpointStored as CheckpointStored
from dipddpm.core.events.event import DataLoaded as DataLoaded
from dipddpm.core.events.event import E as E
from dipddpm.core.events.event import EarlyStopped as EarlyStopped
from dipddpm.core.events.event import EpochFinished as EpochFinished
from dipddpm.core.events.event import FileStored as FileStored
from dipddpm.core.events.event import ImageSaved as ImageSaved
from dipddpm.core.events.event import Input as Input
from dipddpm.core.events.event import KernelLoaded as KernelLoaded
from dipddpm.core.events.event import MaskLoaded as MaskLoaded
from dipddpm.core.events.event import Message as Message
from dipddpm.core.events.event import PriorLoaded as PriorLoaded
from dipddpm.core.events.event import PsnrMeasured as PsnrMeasured
from dipddpm.core.events.event import RestorationMissing as RestorationMissing
from dipddpm.core.events.event import RestorationsCompared as RestorationsCompared
from dipddpm.core.events.event import RestorationScored as RestorationScored
from dipddpm.core.events.event import RestoredSaved as RestoredSaved
from dipddpm.core.events.event import RunFailed as RunFailed
from dipddpm.core.events.event import RunFinished as RunFinished
from dipddpm.core.events.event import RunQueued as RunQueued
from dipddpm.core.events.event import RunResumed as RunResumed
from dipddpm.core.events.event import RunStarted as RunStarted
from dipddpm.core.events.event import RunStopped as RunStopped
from dipddpm.core.events.event import SamplesEvaluated as SamplesEvaluated
from dipddpm.core.events.event import StageStarted as StageStarted
from dipddpm.core.events.event import Step as Step
from dipddpm.core.events.event import StopsCompared as StopsCompared
from dipddpm.core.events.event import TrialErrors as TrialErrors
from dipddpm.core.events.event import decode as decode
from dipddpm.core.events.event import encode as encode
from dipddpm.core.events.event import stamped as stamped
from dipddpm.core.events.given import FitMeasured as FitMeasured
from dipddpm.core.events.given import MethodTried as MethodTried
from dipddpm.core.events.given import NoiseEstimated as NoiseEstimated
from dipddpm.core.events.given import QualityPredicted as QualityPredicted
from dipddpm.core.events.given import TileRestored as TileRestored
from dipddpm.core.events.items import BestModel as BestModel
from dipddpm.core.events.items import Document as Document
from dipddpm.core.events.items import Experiment as Experiment
from dipddpm.core.events.items import GivenRestored as GivenRestored
from dipddpm.core.events.items import Item as Item
from dipddpm.core.events.items import Payload as Payload
from dipddpm.core.events.items import Pictures as Pictures
from dipddpm.core.events.items import RestoredImages as RestoredImages
from dipddpm.core.events.items import Resumable as Resumable
from dipddpm.core.events.items import StateDict as StateDict
from dipddpm.core.events.items import Tensors as Tensors
from dipddpm.core.events.spread import SpreadMeasured as SpreadMeasured
