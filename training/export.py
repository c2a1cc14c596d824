"""Writes the trained model as a checkpoint folder laid out like the published SmolVLM2 ones."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import SmolVLMForConditionalGeneration

from smolvlm_core.prompt.template import END_OF_UTTERANCE, PAD, START
from training import tokenizer as bpe
from training.model import IMAGE_TOKENS, LONGEST_EDGE, TILE

VIDEO_SAMPLING = {"fps": 2, "max_frames": 12, "video_size": {"longest_edge": TILE}}


def export(model: SmolVLMForConditionalGeneration, tokenizer: Tokenizer, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    copy.deepcopy(model).to("cpu", torch.bfloat16).save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)  # safetensors writes it readable by its owner only
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["architectures"] = [
        "VLlama3ForCausalLM"
    ]  # as the published checkpoints have it; llama.cpp's converter reads it
    _write(folder / "config.json", config)
    bpe.save(tokenizer, folder)
    ids = tokenizer.token_to_id
    _write(
        folder / "generation_config.json",
        {"bos_token_id": ids(START), "eos_token_id": ids(END_OF_UTTERANCE), "pad_token_id": ids(PAD)},
    )
    _write(folder / "processor_config.json", {"image_seq_len": IMAGE_TOKENS, "processor_class": "SmolVLMProcessor"})
    _write(
        folder / "preprocessor_config.json",
        {
            "do_convert_rgb": True,
            "do_image_splitting": True,
            "do_normalize": True,
            "do_pad": True,
            "do_rescale": True,
            "do_resize": True,
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
            "image_processor_type": "SmolVLMImageProcessor",
            "processor_class": "SmolVLMProcessor",
            "max_image_size": {"longest_edge": TILE},
            "size": {"longest_edge": LONGEST_EDGE},
            "resample": 1,
            "rescale_factor": 1 / 255,
            "video_sampling": VIDEO_SAMPLING,
        },
    )


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")
