"""Turn NitroGen's public labels, and the videos that belong to them, into a data set."""
