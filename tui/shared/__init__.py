"""Columns and formatting that the command line and the console share."""
