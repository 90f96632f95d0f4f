"""Benchmarks for developers and for the README's tables; `python -m benchmarks` lists them. Not in the wheel."""
