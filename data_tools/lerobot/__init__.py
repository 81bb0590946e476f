"""Read LeRobot's data sets, v3.0, into clips of ours, and write them, without the library."""
