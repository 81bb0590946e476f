"""Pictures for people: controllers drawn below frames, and predictions to compare."""
