"""Conversation → one exact prompt with image slots, the same for every backend."""
