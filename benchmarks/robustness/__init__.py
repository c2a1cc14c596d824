"""Damaged and hostile input by the thousand, and a ledger of what became of it: see `python -m benchmarks.robustness --help`."""
