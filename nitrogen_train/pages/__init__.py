"""Pages for people: HTML without scripts, charts as inline SVG. Knows no torch and no run."""
