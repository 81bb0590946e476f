"""Shards to `PolicyBatch`. The modules are imported by name: several of them run without torch."""
