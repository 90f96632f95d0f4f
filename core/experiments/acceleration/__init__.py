"""The comparison of starts: which one makes a diffusion sampler reach its quality in the least time, all counted."""
