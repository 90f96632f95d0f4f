"""Classic restorations without a network, the controls of every head-to-head."""
