"""Turn other people's data into clips, or recordings, of ours."""
