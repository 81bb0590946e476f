"""Measure how good a policy is: offline beside trivial players, and in real games."""
