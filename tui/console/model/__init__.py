"""What the console knows of runs and of this machine, kept without a terminal."""
