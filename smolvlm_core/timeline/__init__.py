"""Timelines of clips: segments, what a model says about each, and what can be made of that."""
