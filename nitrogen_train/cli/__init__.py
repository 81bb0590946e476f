"""Run the commands: checks before torch is imported, help, and errors in one line."""
