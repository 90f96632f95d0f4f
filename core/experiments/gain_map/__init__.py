"""The map of gains: how much better a hybrid is than DIP and diffusion, by prior, measurement and domain."""
