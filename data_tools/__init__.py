"""`nitrogen-data`: recordings to data sets and back to the eye. Runs on CPUs, without torch."""
