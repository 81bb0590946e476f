"""Record live play: a gamepad's events, a screen's pictures, and a person at a game."""
