"""What answers a prompt: one contract (`base`), one file for each kind of backend, one list (`registry`)."""
