"""The head-to-head: every method on the same degraded images, in and out of the prior's domain, at matched cost.

`sets` makes the images, `classics` and `controls` are what hybrids are compared with, `run` is the run itself.
"""
