"""The bundled checkpoint's tokenizer: byte-level BPE that pre-tokenizes as SmolLM2 does, trained on the project's own questions."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import SmolVLMConfig

from smolvlm_core.prompt.template import (
    END_OF_UTTERANCE,
    FAKE_TOKEN,
    GLOBAL_TOKEN,
    IMAGE,
    PAD,
    START,
    UNKNOWN,
    video_text,
)
from training import questions, scenes
from training.clips import random_event
from training.model import build_config

VOCABULARY = 1024
GRID_TOKENS = [f"<row_{r}_col_{c}>" for r in range(1, 7) for c in range(1, 7)]
CHAT_TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}{% if message['content'][0]['type'] == 'image' %}{{':'}}"
    "{% else %}{{': '}}{% endif %}{% for line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


def corpus(rng: random.Random, size: int = 6000) -> Iterator[str]:
    for _ in range(size):
        scene = scenes.random_scene(rng)
        asked = [*questions.about_scene(rng, scene, 6), questions.small_talk(rng)]
        asked += questions.about_several(rng, [scenes.random_scene(rng, 1) for _ in range(3)], 2)
        asked += questions.about_clip(rng, random_event(rng), 8, 3)
        for question in asked:
            yield questions.loosely_typed(rng, question.text)
            yield "User: " + question.text + "\nAssistant: " + question.answer
            yield "\n\n"
        yield video_text([i * 0.5 for i in range(rng.randint(2, 16))], rng.randint(1, 90))
    for color in scenes.COLORS:
        for shape in scenes.SHAPES:
            for _ in range(20):
                yield f"the {color} {shape}"
    yield questions.NO_IMAGE


def train(seed: int = 0) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    late = [GLOBAL_TOKEN, *GRID_TOKENS, FAKE_TOKEN, IMAGE, END_OF_UTTERANCE]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(late),
        special_tokens=[UNKNOWN, START, PAD],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(random.Random(seed)), trainer)
    while tokenizer.get_vocab_size() < VOCABULARY - len(late):  # few words: fill up, so that row counts stay fixed
        tokenizer.add_tokens([f"<unused_{tokenizer.get_vocab_size()}>"])
    tokenizer.add_special_tokens(late)
    assert tokenizer.get_vocab_size() == VOCABULARY
    for single in ("\n", "\n\n"):
        assert len(tokenizer.encode(single).ids) == 1, f"{single!r} must be one token: llama.cpp looks it up"
    return tokenizer


def config_for(tokenizer: Tokenizer) -> SmolVLMConfig:
    ids = {name: tokenizer.token_to_id(name) for name in (IMAGE, START, END_OF_UTTERANCE, PAD)}
    return build_config(tokenizer.get_vocab_size(), ids[IMAGE], ids[START], ids[END_OF_UTTERANCE], ids[PAD])


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """The tokenizer's files, laid out like those of the published checkpoints."""
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {
        "bos_token": START,
        "eos_token": END_OF_UTTERANCE,
        "pad_token": PAD,
        "unk_token": UNKNOWN,
    }
    extra = [FAKE_TOKEN, IMAGE, END_OF_UTTERANCE]
    config = {
        **special,
        "additional_special_tokens": extra,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "processor_class": "SmolVLMProcessor",
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 2048,
        "chat_template": CHAT_TEMPLATE,
    }
    _write(folder / "tokenizer_config.json", config)
    _write(folder / "special_tokens_map.json", {**special, "additional_special_tokens": extra})
    _write(folder / "chat_template.json", {"chat_template": CHAT_TEMPLATE})


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")
