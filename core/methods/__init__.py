"""Restoration methods, one file each: DIP, diffusion, hybrids. Hybrid options are in `dipddpm.core.config.hybrid`."""
