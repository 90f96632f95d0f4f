"""The run folder: create, append, follow, list, summarise. Loads no torch.

A reader trusts no file: torn lines, unknown events and foreign folders are skipped or marked, never raised.
"""

from dipddpm.core.runs.folder import (
    BEST_FILE,
    CHECKPOINT_FILE,
    ENVIRONMENT_FILE,
    LOG_FILE,
    SCRIPTS_FOLDER,
    STOP_FILE,
    STOP_REQUEST,
    Run,
    RunsFolder,
    RunStatus,
)
from dipddpm.core.runs.log import EVENTS_FILE, EventLog, EventReader, history, voids
from dipddpm.core.runs.summary import CONFIG_FILE, SUMMARY_FILE, RunState, Summary

__all__ = [
    "BEST_FILE",
    "CHECKPOINT_FILE",
    "CONFIG_FILE",
    "ENVIRONMENT_FILE",
    "EVENTS_FILE",
    "LOG_FILE",
    "SCRIPTS_FOLDER",
    "STOP_FILE",
    "STOP_REQUEST",
    "SUMMARY_FILE",
    "EventLog",
    "EventReader",
    "Run",
    "RunState",
    "RunStatus",
    "RunsFolder",
    "Summary",
    "history",
    "voids",
]
