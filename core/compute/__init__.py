"""Where tensors are computed: devices, processes, random numbers, compilation, checkpoints."""
