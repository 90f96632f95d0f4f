"""The head-to-head: all methods restore the same degraded images, in and out of the prior's domain, at equal cost."""
