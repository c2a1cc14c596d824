"""Backends that are servers, reached over HTTP."""
