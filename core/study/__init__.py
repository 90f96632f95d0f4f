"""The published study, reproduced end to end, and why its hybrid failed."""
