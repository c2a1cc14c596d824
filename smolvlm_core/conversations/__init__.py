"""Conversations and their media, stored on disk, and answers in progress."""
