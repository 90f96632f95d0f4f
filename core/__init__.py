"""The experiments: Deep Image Prior, DDPM and their hybrids. Knows nothing of terminals."""
