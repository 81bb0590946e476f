"""A policy that plays while the clock goes on: served to players, and in our own games."""
