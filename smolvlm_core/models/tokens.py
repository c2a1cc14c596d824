"""How many tokens a text has, by a model's own tokenizer where it is on this machine. Loads no weights."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from smolvlm_core.models.catalog import PUBLISHED, ModelSpec

logger = logging.getLogger(__name__)
TOKENIZER = "tokenizer.json"
ESTIMATED_CHARACTERS = 2.5  # a token: on the safe side for English and European languages


def counter(spec: ModelSpec) -> tuple[Callable[[str], int], bool]:
    """(tokens of a text, whether that is exact). Without the model's tokenizer it is an estimate."""
    path = _tokenizer_file(spec)
    if path is not None and (count := _of_file(path, path.stat().st_mtime_ns)) is not None:
        return count, True
    return estimated, False


def estimated(text: str) -> int:
    return math.ceil(len(text) / ESTIMATED_CHARACTERS)


def _tokenizer_file(spec: ModelSpec) -> Path | None:
    if spec.folder is not None:
        path = spec.folder / TOKENIZER
        return path if path.is_file() else None
    if spec.repo_id not in {published.repo_id for published in PUBLISHED}:
        return None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(spec.repo_id, TOKENIZER, revision=spec.revision)
    return Path(found) if isinstance(found, str) else None


@lru_cache(maxsize=8)
def _of_file(path: Path, changed_ns: int) -> Callable[[str], int] | None:
    """`changed_ns` is part of the key: a file that was replaced is read again."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except BaseException as error:  # a panic of its Rust code is no Exception
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        logger.warning("%s cannot be read: %s", path, error)
        return None
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)
