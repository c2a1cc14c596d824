"""Kills processes at random moments and looks at what is left: see `python -m benchmarks.kills --help`."""
