"""Define recordings of play (a video, an input log, facts), and write them."""
