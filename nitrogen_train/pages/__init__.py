"""Pages for people: one HTML file without scripts, charts inside. Knows no torch and no run."""
