"""Build a run: whether it can work, its data, the policy it starts from, what it would cost."""
