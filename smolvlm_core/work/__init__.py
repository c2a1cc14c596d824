"""Background jobs, worker threads, and whose turn it is on a device."""
