"""Choose the clips of a data set that are worth learning from, and copy just these."""
