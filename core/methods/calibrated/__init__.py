"""The calibrated hybrid: candidates from DIP, diffusion and classics, weighted by measurements that they never saw."""
