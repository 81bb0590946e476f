"""Draw pictures for people: controllers below frames, and predictions to compare."""
