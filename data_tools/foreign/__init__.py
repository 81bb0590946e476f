"""Shards that others wrote: found, opened and listed where they are."""
