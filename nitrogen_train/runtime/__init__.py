"""Serve every process of the project: progress, interrupts, workers."""
