"""The experiments, a file for each kind of run: config in, events out."""
