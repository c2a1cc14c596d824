"""Turns a conversation into one exact prompt with image slots. Every backend gets the same prompt."""
