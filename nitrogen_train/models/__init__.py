"""Define policies and their parts: torch modules, no training framework."""
