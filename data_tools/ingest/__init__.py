"""Other people's data: each format becomes clips, or recordings, of ours."""
