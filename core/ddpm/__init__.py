"""Denoising diffusion (Ho et al., NeurIPS 2020): the forward process, denoising networks, training and sampling.

All images here are in model space, float in [-1, 1]; `dipddpm.core.images` converts them.
"""
