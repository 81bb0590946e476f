"""Build one training run: which data it opens, and which policy it begins from."""
