"""Weights and settings in and out: policies as folders, and the released checkpoint."""
