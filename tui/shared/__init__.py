"""Columns, formatting, groups and notes, shared by the command line and the console."""
