"""Measurements for a GPU: every part in a child process with a time limit of its own, results written as they come.

`day.py` and what it imports need the standard library alone, so that they can install the other packages first.
"""
