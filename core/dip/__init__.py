"""Deep Image Prior: an untrained network that is fitted to one degraded image restores it (Ulyanov et al., CVPR 2018).

`networks` and `ensemble` define a network that holds many priors, `batch` and `fit` fit many images together, and
`stopping` has the rules that stop a fit without the truth.
"""
