"""Native Linux games: what each is, how its score is read, and an expert for each."""
