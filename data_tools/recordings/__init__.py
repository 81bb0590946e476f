"""Play as it was recorded: videos, input logs and their facts, and what writes them."""
