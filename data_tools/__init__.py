"""Turn recordings into data sets, and look into them: `nitrogen-data`, on CPUs, without torch."""
