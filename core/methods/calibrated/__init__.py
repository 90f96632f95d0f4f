"""The calibrated hybrid: DIP, diffusion and kriging, stacked by their errors at held-out measurements."""
