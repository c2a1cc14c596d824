"""Answers about a whole clip from its timeline, in which every statement carries the times it came from."""
