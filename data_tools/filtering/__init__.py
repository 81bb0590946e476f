"""Which clips of a data set are worth learning from, and a data set of just these."""
