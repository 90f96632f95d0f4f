"""The training of a diffusion model on degraded images alone, by expectation maximisation."""
