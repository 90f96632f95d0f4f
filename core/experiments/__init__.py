"""Experiments, one file for each kind of run: each takes a config and yields events."""
