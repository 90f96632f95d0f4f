"""The computing environment: devices, processes, random numbers, compilation and checkpoints."""
