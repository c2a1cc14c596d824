"""Which models exist, what each costs, and loading them into memory."""
