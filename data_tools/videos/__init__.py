"""Fetch the videos that labels belong to from where they were published."""
