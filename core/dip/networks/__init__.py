"""The networks that deep image priors are made of."""
