"""Deep Image Prior: an untrained network fitted to one degraded image restores it (Ulyanov et al., CVPR 2018).

`networks` holds the networks, `batch` and `fit` the fit of many images at once, `stopping` the rules that stop it
without the truth.
"""
