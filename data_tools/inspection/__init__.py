"""Show what is in a data set, whether it is sound, and what a run will take of it."""
