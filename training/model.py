"""The bundled checkpoint's architecture and initialization. Does not know scenes or questions."""

from __future__ import annotations

import math

import torch
from torch import nn
from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration

TILE = 96  # px: 12 × 12 patches of 8 px, 6 × 6 = 36 tokens after the pixel shuffle
PATCH = 8
LONGEST_EDGE = 2 * TILE
IMAGE_TOKENS = 36
POSITION_DIMS = 32  # of the vision width: 2D sine-cosine; the content starts in the rest


def build_config(vocab_size: int, image_token_id: int, bos: int, eos: int, pad: int) -> SmolVLMConfig:
    return SmolVLMConfig(
        vision_config=dict(
            hidden_size=256,
            intermediate_size=768,
            num_hidden_layers=4,
            num_attention_heads=8,
            image_size=TILE,
            patch_size=PATCH,
        ),
        text_config=dict(
            model_type="llama",
            vocab_size=vocab_size,
            hidden_size=256,
            intermediate_size=768,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=64,
            max_position_embeddings=2048,
            rope_theta=10000.0,
            rms_norm_eps=1e-5,
            bos_token_id=bos,
            eos_token_id=eos,
            pad_token_id=pad,
            tie_word_embeddings=False,
        ),
        scale_factor=2,
        image_token_id=image_token_id,
        tie_word_embeddings=False,
        pad_token_id=pad,
    )


def build_model(config: SmolVLMConfig) -> SmolVLMForConditionalGeneration:
    model = SmolVLMForConditionalGeneration(config)
    start_vision_like_a_convolution(model)
    for name, weight in model.model.text_model.named_parameters():
        if weight.ndim == 2 and "embed" not in name:
            nn.init.normal_(
                weight,
                std=0.5 / math.sqrt(weight.shape[1])
                if "down" in name or "o_proj" in name
                else 1 / math.sqrt(weight.shape[1]),
            )
    nn.init.normal_(model.model.text_model.embed_tokens.weight, std=0.5)
    nn.init.normal_(model.lm_head.weight, std=0.02)
    return model


@torch.no_grad()
def start_vision_like_a_convolution(model: SmolVLMForConditionalGeneration) -> None:
    """Each head starts by attending to one neighbouring patch, found from sine-cosine positions.

    With a default initialization, a vision transformer learns shapes an order of magnitude slower than a convolutional network on the
    same pictures. With this one it does not.
    """
    vision = model.model.vision_model
    width = vision.config.hidden_size
    content = width - POSITION_DIMS
    side = vision.config.image_size // vision.config.patch_size
    frequencies = math.pi * (torch.arange(POSITION_DIMS // 4) + 0.5) / (POSITION_DIMS // 4)

    patch = vision.embeddings.patch_embedding
    nn.init.orthogonal_(patch.weight.view(width, -1)[:content])
    patch.weight.mul_(1.5)
    patch.weight[content:] = 0
    nn.init.zeros_(patch.bias)

    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    table = vision.embeddings.position_embedding.weight
    nn.init.zeros_(table)
    waves = [f(axis.reshape(-1, 1) * frequencies) for axis in (x, y) for f in (torch.cos, torch.sin)]
    table[:, content:] = torch.cat(waves, 1)

    directions = [(-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (1, -1), (-1, 1), (1, 1)]
    for depth, layer in enumerate(vision.encoder.layers):
        reach, sharpness = ((1, 2.2), (1, 2.3), (2, 2.5), (3, 2.3))[min(depth, 3)]
        _point_heads(
            layer.self_attn, [(dx * reach, dy * reach) for dx, dy in directions], frequencies, content, sharpness
        )
        nn.init.orthogonal_(layer.self_attn.v_proj.weight)
        nn.init.orthogonal_(layer.self_attn.out_proj.weight, gain=0.7)
        nn.init.normal_(layer.mlp.fc1.weight, std=1.0 / math.sqrt(width))
        nn.init.normal_(layer.mlp.fc2.weight, std=0.5 / math.sqrt(layer.mlp.fc1.out_features))
        layer.self_attn.out_proj.weight[content:] *= 0.1  # keep the positions readable in deeper layers
        layer.mlp.fc2.weight[content:] *= 0.1
    projection = model.model.connector.modality_projection.proj.weight
    nn.init.normal_(projection, std=1 / math.sqrt(projection.shape[1]))


def _point_heads(
    attention: nn.Module, offsets: list[tuple[int, int]], frequencies: torch.Tensor, content: int, sharpness: float
) -> None:
    """Set query and key so that head h of a patch attends the patch at offsets[h] from it."""
    n = len(frequencies)
    query, key = attention.q_proj.weight, attention.k_proj.weight
    nn.init.normal_(query, std=0.02)
    nn.init.normal_(key, std=0.02)
    for head, (dx, dy) in enumerate(offsets):
        rows = slice(head * 4 * n, (head + 1) * 4 * n)
        key[rows, content:] += torch.eye(4 * n) * sharpness
        turn = torch.zeros(4 * n, 4 * n)
        for axis, shift in enumerate((dx, dy)):
            cos, sin = torch.diag(torch.cos(frequencies * shift)), torch.diag(torch.sin(frequencies * shift))
            at = axis * 2 * n
            turn[at : at + n, at : at + n], turn[at : at + n, at + n : at + 2 * n] = cos, -sin
            turn[at + n : at + 2 * n, at : at + n], turn[at + n : at + 2 * n, at + n : at + 2 * n] = sin, cos
        query[rows, content:] += turn * sharpness
