"""Benchmarks of this code and its rivals, run next to each other on the user's own machine."""
