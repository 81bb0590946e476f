"""Commands: what is checked before torch is imported, help, and errors in one line."""
