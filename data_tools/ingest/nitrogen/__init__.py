"""NitroGen's public labels, and videos that belong to them, to a data set."""
