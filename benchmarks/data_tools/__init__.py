"""Benchmarks of the data tools: `python -m benchmarks.data_tools --help`."""
