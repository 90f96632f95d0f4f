"""Run folders: creating, logging, following, listing and summarising runs. Loads no torch.

Readers trust no file: they skip or mark torn lines, unknown events and foreign folders, and never raise an error.
"""

from dipddpm.core.runs.folder import BEST_FILE as BEST_FILE
from dipddpm.core.runs.folder import CHECKPOINT_FILE as CHECKPOINT_FILE
from dipddpm.core.runs.folder import ENVIRONMENT_FILE as ENVIRONMENT_FILE
from dipddpm.core.runs.folder import LOG_FILE as LOG_FILE
from dipddpm.core.runs.folder import SCRIPTS_FOLDER as SCRIPTS_FOLDER
from dipddpm.core.runs.folder import STOP_FILE as STOP_FILE
from dipddpm.core.runs.folder import STOP_REQUEST as STOP_REQUEST
from dipddpm.core.runs.folder import Run as Run
from dipddpm.core.runs.folder import RunsFolder as RunsFolder
from dipddpm.core.runs.folder import RunStatus as RunStatus
from dipddpm.core.runs.log import EVENTS_FILE as EVENTS_FILE
from dipddpm.core.runs.log import EventLog as EventLog
from dipddpm.core.runs.log import EventReader as EventReader
from dipddpm.core.runs.log import history as history
from dipddpm.core.runs.log import voids as voids
from dipddpm.core.runs.summary import CONFIG_FILE as CONFIG_FILE
from dipddpm.core.runs.summary import SUMMARY_FILE as SUMMARY_FILE
from dipddpm.core.runs.summary import RunState as RunState
from dipddpm.core.runs.summary import Summary as Summary
