"""How fast videos become data sets, against FFmpeg's own command."""
