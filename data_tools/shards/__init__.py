"""Recordings to data sets: clips are planned, their videos encoded, shards written."""
