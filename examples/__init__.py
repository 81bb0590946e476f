"""Whole uses of the project: `make demo` and `make compare`."""
