"""The experiments: Deep Image Prior, DDPM and their hybrids. Nothing in this package depends on a terminal."""
