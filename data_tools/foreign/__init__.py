"""Find, open and list shards of other writers where they are."""
