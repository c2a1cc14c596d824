"""llama.cpp: its programs, its files, its server, and converting a checkpoint for it."""
