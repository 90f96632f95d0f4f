"""The run folder: create, append, follow, list, summarise. Loads no torch.

A reader trusts no file: torn lines, unknown events and foreign folders are skipped or marked, never raised.
"""

from core.runs.folder import (
    BEST_FILE,
    CHECKPOINT_FILE,
    ENVIRONMENT_FILE,
    LOG_FILE,
    SCRIPTS_FOLDER,
    STOP_FILE,
    STOP_REQUEST,
    Glance,
    Run,
    RunsFolder,
)
from core.runs.log import EVENTS_FILE, EventLog, EventReader, history, voids
from core.runs.summary import CONFIG_FILE, SUMMARY_FILE, State, Summary

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
    "Glance",
    "Run",
    "RunsFolder",
    "State",
    "Summary",
    "history",
    "voids",
]
