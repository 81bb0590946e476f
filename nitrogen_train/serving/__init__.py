"""A policy for players on this machine and elsewhere, safe against what they send."""
