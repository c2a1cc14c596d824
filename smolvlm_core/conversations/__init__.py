"""What was said and shown, stored on disk, and answers in progress."""
