"""A run's results for people to read."""
