"""Comparing a run's samples: axes of a sweep, the manifest of what was made, votes, ranking, measures."""
