"""The head-to-head: every method on the same degraded images, in and out of the prior's domain, at matched cost."""
