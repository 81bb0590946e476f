"""LeRobot's data sets, v3.0: read into clips of ours, and written from them; not the library."""
