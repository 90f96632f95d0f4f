"""The networks that predict the noise."""
