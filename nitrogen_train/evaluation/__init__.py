"""How good a policy is: offline, next to trivial baselines, and in real games played through."""
