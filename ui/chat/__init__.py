"""The chat pages: sidebar, transcript."""
