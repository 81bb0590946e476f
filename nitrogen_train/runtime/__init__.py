"""What every process of the project needs: progress, interrupts, workers."""
