"""Reproduction of the published study, and the measurements that explain why its hybrid failed."""
