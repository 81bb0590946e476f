"""Benchmarks of sampling and training: `python -m nitrogen_train.benchmark --help`."""
