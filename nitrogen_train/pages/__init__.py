"""Write pages for people: one HTML file without scripts, charts inside. No torch, no runs."""
