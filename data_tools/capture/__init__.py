"""Play as it happens: a gamepad's events, a screen's pictures, and a person at a game."""
