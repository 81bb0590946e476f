"""Benchmarks: `python -m benchmarks --help`. They are no part of the package."""
