"""Denoising diffusion (Ho et al., NeurIPS 2020): the forward process, networks that undo it, training, sampling.

Everything here works in model space, float in [-1, 1]; `dipddpm.core.images` converts.
"""
