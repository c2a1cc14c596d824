"""Decides whether compiled decode is used: a test on this GPU must give the same tokens, faster. The outcome is remembered.

Nothing here is fatal: whatever goes wrong, answers are decoded with the growing cache. Off on a CPU, and where the environment
has SMOLVLM_LENS_COMPILE=off. Knows the two ways of decoding; not prompts with pictures.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from smolvlm_core.engine.decode import STATIC_TOKENS, StaticDecode
from smolvlm_core.engine.memory import memory_error
from smolvlm_core.fields import FieldError, read_object
from smolvlm_core.files import Remembered
from smolvlm_core.models import load
from smolvlm_core.models.catalog import ModelSpec
from smolvlm_core.models.load import LoadedModel
from smolvlm_core.paths import data_folder
from smolvlm_core.work.report import Report

logger = logging.getLogger(__name__)
FILE_NAME = "decode.json"
LEAST_SPEEDUP = 1.1  # below this, the memory of a second cache is not worth it
TEST_TOKENS = 64
TEST_PROMPT = (
    "<|im_start|>User: Describe the sea, the land and the sky in a few sentences.<end_of_utterance>\nAssistant:"
)


@dataclass(frozen=True)
class Outcome:
    """What the test found. `speedup`: times faster, 0 where it was not measured. `problem`: why it is off, "" if it is on."""

    speedup: float
    problem: str = ""

    @property
    def use(self) -> bool:
        return not self.problem

    def describe(self) -> str:
        """For the model's status line."""
        if self.use:
            return f"compiled decode: {self.speedup:.1f} × faster on this GPU"
        return f"compiled decode is off: {self.problem}"


def compare(
    growing: Callable[[], list[int]],
    compiled: Callable[[], list[int]],
    clock: Callable[[], float] = time.perf_counter,
) -> Outcome:
    """Run both twice: the first run of each compiles and warms up, the second is timed. All four must give the same tokens."""

    def timed(decode: Callable[[], list[int]]) -> tuple[list[list[int]], float]:
        first, began = decode(), clock()
        return [first, decode()], clock() - began

    try:
        wanted, growing_seconds = timed(growing)
        got, compiled_seconds = timed(compiled)
    except Exception as error:
        logger.warning("the test of compiled decode failed", exc_info=True)
        return failed(error)
    if any(tokens != wanted[0] for tokens in (*wanted, *got)):
        return Outcome(0.0, "its tokens differed")
    speedup = growing_seconds / max(compiled_seconds, 1e-9)
    return Outcome(speedup, "" if speedup >= LEAST_SPEEDUP else "it was not faster")


def failed(error: Exception) -> Outcome:
    return Outcome(
        0.0, "not enough memory" if memory_error(error) is not None else f"it failed ({type(error).__name__})"
    )


class Outcomes:
    """What was found, by GPU, versions and weights, in a JSON file. Where it cannot be read, a test runs again."""

    def __init__(self, path: Path) -> None:
        self._rows = Remembered(lambda: path)

    def find(self, key: str) -> Outcome | None:
        row = self._rows.get(key)
        try:
            return read_object(Outcome, row) if row is not None else None
        except FieldError as error:
            self._rows.skip(key, error)
            return None

    def keep(self, key: str, outcome: Outcome) -> None:
        if outcome.problem != "not enough memory":  # there may be more of it next time
            self._rows.put(key, asdict(outcome))


def key_of(loaded: LoadedModel, spec: ModelSpec) -> str:
    """What an outcome holds for: GPU, driver, torch, transformers, weights, dtype, and the length of the fixed cache."""
    import torch
    import transformers

    gpu = torch.cuda.get_device_name() if loaded.device == "cuda" else loaded.device
    weights = f"{spec.weights_id} {loaded.revision}"
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    return " | ".join([gpu, driver_version(), versions, weights, str(loaded.model.dtype), f"{STATIC_TOKENS} tokens"])


def driver_version() -> str:
    """Of the NVIDIA driver; "no driver" where that cannot be found out."""
    if shutil.which("nvidia-smi") is None:
        return "no driver"
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        lines = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return "no driver"
    return f"driver {lines[0].strip()}" if lines else "no driver"


def prepare(loaded: LoadedModel, spec: ModelSpec, report: Report, devices: tuple[str, ...] = ("cuda",)) -> None:
    """Turn compiled decode on where it is known to work here; test it where that is unknown. Never raises.

    Call on the worker thread, once the model is loaded. Compiling takes up to about a minute. `devices`: where it may be used.
    """
    if loaded.device not in devices or os.environ.get("SMOLVLM_LENS_COMPILE", "").lower() == "off":
        return
    try:
        _prepare(loaded, spec, report)
    except Exception as error:
        logger.warning("compiled decode could not be prepared", exc_info=True)
        loaded.static_decode, loaded.decode_note = None, failed(error).describe()


def _prepare(loaded: LoadedModel, spec: ModelSpec, report: Report) -> None:
    outcomes, key = Outcomes(data_folder() / FILE_NAME), key_of(loaded, spec)
    known = outcomes.find(key)
    if known is not None and not known.use:
        loaded.decode_note = known.describe()
        return
    tokens = min(STATIC_TOKENS, spec.context_tokens)
    cache_bytes = tokens * spec.kv_bytes_per_token * loaded.model.dtype.itemsize // 2
    if load.free_memory(loaded.device) < 2 * cache_bytes:  # the answers need room too
        loaded.decode_note = Outcome(0.0, "not enough memory").describe()
        return
    static = StaticDecode(loaded.model, tokens)
    growing, compiled = decoders(loaded, static)
    if known is None:
        report("Testing compiled decode on this GPU, once", None)
        outcome = compare(growing, compiled)
        outcomes.keep(key, outcome)
    else:
        report("Compiling the model for this GPU", None)
        outcome = _warm(compiled, known)
        if outcome is not known:
            outcomes.keep(key, outcome)
    loaded.decode_note = outcome.describe()
    if outcome.use:
        loaded.static_decode, loaded.extra_bytes = static, cache_bytes
        loaded.on_decode_failure = lambda error: outcomes.keep(key, failed(error))


def _warm(compiled: Callable[[], list[int]], known: Outcome) -> Outcome:
    try:
        compiled()
    except Exception as error:
        logger.warning("compiled decode failed", exc_info=True)
        return failed(error)
    return known


def decoders(loaded: LoadedModel, static: StaticDecode) -> tuple[Callable[[], list[int]], Callable[[], list[int]]]:
    """(with the growing cache, with the fixed one): each decodes TEST_TOKENS greedy tokens after TEST_PROMPT."""
    import torch
    from transformers import DynamicCache

    model = loaded.model
    ids = torch.tensor([loaded.tokenizer(TEST_PROMPT, add_special_tokens=False)["input_ids"]], device=model.device)
    length = {"min_new_tokens": TEST_TOKENS, "max_new_tokens": TEST_TOKENS, "do_sample": False}

    def decode(generate: Callable[..., Any]) -> list[int]:
        with torch.inference_mode():
            cache = DynamicCache(config=model.config.get_text_config())
            embedded = model.model.get_input_embeddings()(ids[:, :-1])  # (1, L - 1, hidden)
            model.model.text_model(inputs_embeds=embedded, cache=cache, use_cache=True)
            sequence = generate(cache=cache, input_ids=ids, attention_mask=torch.ones_like(ids), **length)
            tokens: list[int] = sequence[0, ids.shape[1] :].tolist()
            return tokens

    return lambda: decode(model.generate), lambda: decode(static.generate)
