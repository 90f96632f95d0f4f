"""Deep Image Prior: an untrained network fitted to one degraded image restores it (Ulyanov et al., CVPR 2018).

The networks stand in `skip` and `decoder`, the fit of many images at once in `batch` and `fit`, the rules that stop
it without the truth in `stop`, and the whole run in `run`.
"""
