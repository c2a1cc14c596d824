"""When something happens in a clip: the probability of *yes* over its frames, and where it changes."""
