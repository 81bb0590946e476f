"""Turn recordings into data sets: plan clips, encode their videos, write shards."""
