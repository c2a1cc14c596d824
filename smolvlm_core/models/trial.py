"""Whether what was loaded from a checkpoint works together, tried with a few words and a small picture before anyone asks.

A damaged tokenizer or processor often loads without an error, and would fail in the first answer.
"""

from __future__ import annotations

from typing import Any

from smolvlm_core.errors import ModelError
from smolvlm_core.models.catalog import ModelSpec
from smolvlm_core.models.config import AGAIN
from smolvlm_core.prompt.template import END_OF_UTTERANCE, IMAGE, START

TRIAL_TEXT = f"{START}User:{IMAGE}What is it?{END_OF_UTTERANCE}\nAssistant:"


def try_tokenizer(tokenizer: Any, config: Any) -> None:
    """Raises ModelError where words do not become tokens that the model has. Other exceptions are the tokenizer's own."""
    ids, vocabulary = tokenizer(TRIAL_TEXT, add_special_tokens=False)["input_ids"], config.text_config.vocab_size
    if not ids or not all(isinstance(token, int) and 0 <= token < vocabulary for token in ids):
        raise _does_not_fit("tokenizer.json", f"it gives tokens that a model of {vocabulary} tokens does not have")
    if ids.count(config.image_token_id) != 1 or tokenizer.convert_tokens_to_ids(IMAGE) != config.image_token_id:
        raise _does_not_fit("tokenizer.json", f"{IMAGE} is not the token {config.image_token_id} of config.json")
    tokenizer.decode(ids)


def try_processor(image_processor: Any, spec: ModelSpec) -> None:
    """Raises ModelError where a picture does not become a tile of numbers. Other exceptions are the processor's own."""
    from PIL import Image

    tile = spec.geometry.tile
    made = image_processor(
        images=[[Image.linear_gradient("L").convert("RGB").resize((40, 30))]],
        do_image_splitting=False,
        size={"longest_edge": tile},
        return_row_col_info=True,
        return_tensors="pt",
    )
    pixels, grid = made["pixel_values"][0], (made["rows"][0][0], made["cols"][0][0])
    if tuple(pixels.shape) != (1, 3, tile, tile) or grid != (0, 0) or not bool(pixels.isfinite().all()):
        raise _does_not_fit("preprocessor_config.json", f"a picture becomes {tuple(pixels.shape)} numbers")


def try_special_tokens(generation_config: Any, vocabulary: int) -> None:
    """Raises ModelError where the tokens that begin, fill and end an answer are none of the model's."""
    for name in ("eos_token_id", "bos_token_id", "pad_token_id", "decoder_start_token_id"):
        value = getattr(generation_config, name, None)
        if value is None and name != "eos_token_id":
            continue
        for token in value if isinstance(value, list) and value else [value]:
            if isinstance(token, bool) or not isinstance(token, int) or not 0 <= token < vocabulary:
                raise _does_not_fit("generation_config.json", f"{name} is {str(value)[:40]}")


def _does_not_fit(file: str, why: str) -> ModelError:
    return ModelError(f"{file} does not fit the model: {why}.", AGAIN)
