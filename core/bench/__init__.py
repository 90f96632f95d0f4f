"""Measurements: of the program itself, of samples against their cost, and of how fast networks learn."""
