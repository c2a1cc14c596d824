"""The Backends page, and what other pages say about backends."""
