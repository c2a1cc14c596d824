"""Trains and measures the bundled checkpoint. Nothing in the app imports this package."""
