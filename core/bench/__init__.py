"""Measurements: of the program itself, of samples against their cost, of how fast networks learn, and of fits."""
