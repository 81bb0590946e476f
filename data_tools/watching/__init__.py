"""Read the controller that is drawn on a video, and draw controllers on videos."""
