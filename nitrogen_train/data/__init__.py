"""Turn shards into `PolicyBatch`; modules are imported by name, since several run without torch."""
