"""A GGUF text model in a process of its own that takes embeddings: several answers in one batch, prefixes shared and kept.

`client` is this process's side. `worker`, `scheduler`, `context` and `sampling` run in the other one, through `llama-cpp-python`.
"""
