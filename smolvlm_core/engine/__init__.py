"""Runs a SmolVLM2 checkpoint in this process with torch."""
