"""Open Pixel2Play: people who play 3D games, 192x192 at 20 frames per second."""
