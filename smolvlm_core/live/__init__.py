"""Asking a model about what a camera, a stream or a clip shows now, with alerts. The newest frame only: nothing waits in a queue."""
