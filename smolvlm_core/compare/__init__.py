"""The same prompts to several backends, side by side."""
