"""Model the artwork of controllers on videos, draw our own, and render their states."""
