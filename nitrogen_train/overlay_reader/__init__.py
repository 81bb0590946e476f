"""Networks that read controllers of any skin on videos, and their training."""
