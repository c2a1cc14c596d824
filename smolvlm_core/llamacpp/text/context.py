"""llama.cpp's low-level API through `llama-cpp-python`: one model, one context, batches. Knows places and sequences only."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llama_cpp as api
import numpy as np

BATCH = 512  # places in one call of llama_decode at most
NO_ROOM = 1  # llama_decode: no free cells


@dataclass(frozen=True)
class Row:
    """One place of a batch. `wanted`: its logits are needed."""

    sequence: int
    position: int
    wanted: bool


class Context:
    """Raises RuntimeError where the model or the context cannot be made."""

    def __init__(self, path: Path, *, cells: int, sequences: int, threads: int) -> None:
        api.llama_backend_init()
        self._model: Any = api.llama_model_load_from_file(str(path).encode(), api.llama_model_default_params())
        if not self._model:
            raise RuntimeError(f"llama.cpp cannot load {path.name}")
        options = api.llama_context_default_params()
        options.n_ctx, options.n_batch, options.n_ubatch = cells, BATCH, BATCH
        options.n_seq_max, options.kv_unified = sequences, True
        options.n_threads = options.n_threads_batch = threads
        self._context: Any = api.llama_init_from_model(self._model, options)
        if not self._context:
            raise RuntimeError(f"llama.cpp has no room for {cells} tokens of context")
        self._memory = api.llama_get_memory(self._context)
        self.hidden = int(api.llama_model_n_embd(self._model))
        self.vocabulary = int(api.llama_vocab_n_tokens(api.llama_model_get_vocab(self._model)))
        self._embeddings = api.llama_batch_init(BATCH, self.hidden, 1)
        self._tokens = api.llama_batch_init(BATCH, 0, 1)

    def read(self, embeddings: np.ndarray, rows: Sequence[Row]) -> dict[int, np.ndarray] | None:
        """Put (n, hidden) float32 embeddings into the cache. Returns the logits of the rows that want them; None: no room."""
        values = np.ascontiguousarray(embeddings, dtype=np.float32)
        ctypes.memmove(self._embeddings.embd, values.ctypes.data, values.nbytes)
        return self._decode(self._embeddings, rows)

    def write(self, tokens: Sequence[int], rows: Sequence[Row]) -> dict[int, np.ndarray] | None:
        """As `read`, for tokens."""
        for i, token in enumerate(tokens):
            self._tokens.token[i] = token
        return self._decode(self._tokens, rows)

    def _decode(self, batch: Any, rows: Sequence[Row]) -> dict[int, np.ndarray] | None:
        for i, row in enumerate(rows):
            batch.pos[i], batch.n_seq_id[i] = row.position, 1
            batch.seq_id[i][0], batch.logits[i] = row.sequence, row.wanted
        batch.n_tokens = len(rows)
        code = api.llama_decode(self._context, batch)
        if code == NO_ROOM:
            return None
        if code != 0:
            raise RuntimeError(f"llama_decode returned {code}")
        shape = (self.vocabulary,)
        return {
            i: np.ctypeslib.as_array(api.llama_get_logits_ith(self._context, i), shape).copy()
            for i, row in enumerate(rows)
            if row.wanted
        }

    def copy(self, source: int, target: int, length: int) -> None:
        """Let a sequence share the first `length` places of another."""
        api.llama_memory_seq_cp(self._memory, source, target, 0, length)

    def cut(self, sequence: int, length: int) -> None:
        """Keep the first `length` places of a sequence."""
        api.llama_memory_seq_rm(self._memory, sequence, length, -1)

    def save(self, sequence: int) -> bytes:
        size = api.llama_state_seq_get_size(self._context, sequence)
        buffer = (ctypes.c_uint8 * size)()
        written = api.llama_state_seq_get_data(self._context, buffer, size, sequence)
        return bytes(memoryview(buffer)[:written])

    def restore(self, sequence: int, state: bytes) -> bool:
        """False where there is no room for it."""
        buffer = (ctypes.c_uint8 * len(state)).from_buffer_copy(state)
        return int(api.llama_state_seq_set_data(self._context, buffer, len(state), sequence)) > 0
