"""Classic restoration methods without a network, which every head-to-head includes as controls."""
