"""Second stage: the whole model learns to answer.

    python -m training.language --eyes training/runs/eyes.pt --out training/runs/language.pt --steps 6000
    python -m training.language --out training/runs/language.pt --export models/smolvlm-shapes   (write the checkpoint)

Resumes from --out if it is there.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from transformers import SmolVLMForConditionalGeneration

from smolvlm_core.template import END_OF_UTTERANCE, IMAGE
from training import tokenizer as bpe
from training.common import decay_groups, learning_rate, load_state, save_state
from training.conversations import Conversations, attention_mask, easy_vqa_train
from training.export import export
from training.eyes import to_pixels
from training.model import build_config, build_model

PLACE_SIDE = 6  # projector tokens a side


def place_loss(head: nn.Linear, tokens: torch.Tensor) -> torch.Tensor:
    """How well a linear head reads each token's row and column. Without this, places are lost on the way through the
    encoder (dense labels do not need them) and the language stage is slow to bring them back."""
    rows = torch.arange(PLACE_SIDE, device=tokens.device).repeat_interleave(PLACE_SIDE)
    columns = torch.arange(PLACE_SIDE, device=tokens.device).repeat(PLACE_SIDE)
    logits = head(tokens.float()).unflatten(-1, (2, PLACE_SIDE))  # (tiles, 36, 2, 6)
    wanted = torch.stack([rows, columns], -1).expand(len(tokens), -1, -1)
    return F.cross_entropy(logits.flatten(0, 2), wanted.flatten())


def forward_loss(
    model: SmolVLMForConditionalGeneration, head: nn.Linear, batch: dict[str, torch.Tensor], device: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weighted cross-entropy on the answers' tokens, and the place loss."""
    places = torch.zeros((), device=device)
    ids = batch["ids"].to(device)
    core = model.model
    with torch.autocast(device, dtype=torch.bfloat16):
        embedded = core.text_model.embed_tokens(ids)
        if batch["pixels"] is not None:
            tokens = core.connector(core.vision_model(to_pixels(batch["pixels"].to(device))).last_hidden_state)
            places = place_loss(head, tokens)
            slots = (ids == model.config.image_token_id).unsqueeze(-1)
            embedded = embedded.masked_scatter(slots, tokens.flatten(0, 1).to(embedded.dtype))
        hidden = core.text_model(
            inputs_embeds=embedded,
            attention_mask=attention_mask(batch["groups"].to(device)),
            position_ids=batch["positions"].to(device),
            use_cache=False,
        ).last_hidden_state
        weights = batch["weights"].to(device)[:, 1:]
        learned = weights > 0
        logits = model.lm_head(hidden[:, :-1][learned])
    losses = F.cross_entropy(logits.float(), ids[:, 1:][learned], reduction="none")
    return (losses * weights[learned]).sum() / weights.sum(), places


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--eyes", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=4300)
    parser.add_argument("--peak", type=float, default=1e-3)
    parser.add_argument("--eyes-peak", type=float, default=5e-4, help="learning rate of the encoder")
    parser.add_argument("--early-steps", type=int, default=2200, help="steps with mostly single tiles")
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--export", type=Path)
    args = parser.parse_args()

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(args.seed)
    tokenizer = bpe.train()
    ids = tokenizer.token_to_id
    model = build_model(
        build_config(
            tokenizer.get_vocab_size(), ids(IMAGE), ids("<|im_start|>"), ids(END_OF_UTTERANCE), ids("<|im_end|>")
        )
    ).to(device)
    state = load_state(args.out)
    if args.export:
        if state is None:
            parser.error(f"--export: {args.out} is not there; train first")
        model.load_state_dict(state["model"])
        export(model, tokenizer, args.export)
        print(f"wrote {args.export} after {state['step']} steps")
        return
    model.set_attn_implementation("plain" if device == "cpu" else "sdpa")
    eyes: list[nn.Module] = [model.model.vision_model]
    head = nn.Linear(model.config.text_config.hidden_size, 2 * PLACE_SIDE).to(device)  # thrown away
    words: list[nn.Module] = [model.model.connector, model.model.text_model, model.lm_head, head]
    groups = [
        *({**g, "eyes": True} for g in decay_groups(eyes, 0.02)),
        *({**g, "eyes": False} for g in decay_groups(words, 0.02)),
    ]
    optimizer = torch.optim.AdamW(groups, lr=args.peak, betas=(0.9, 0.97), fused=True)
    start = 0
    if state:
        model.load_state_dict(state["model"])
        head.load_state_dict(state["head"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]
    elif args.eyes:
        seen = torch.load(args.eyes, weights_only=True)["modules"]
        for module, weights in zip((model.model.vision_model, model.model.connector), seen):
            module.load_state_dict(weights)
    else:
        parser.error("--eyes is needed for the first run")

    data = Conversations(tokenizer.to_str(), args.seed * 100_003 + start, easy_vqa_train(), start, args.early_steps)
    loader = iter(DataLoader(data, batch_size=None, num_workers=1, prefetch_factor=6))
    began, losses = time.time(), defaultdict(list)
    for step in range(start, args.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, args.steps, args.eyes_peak if group["eyes"] else args.peak, 150)
        batch = next(loader)
        loss, places = forward_loss(model, head, batch, device)
        (loss + 0.15 * places).backward()
        nn.utils.clip_grad_norm_([p for p in model.parameters() if p.grad is not None], 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses[batch["kind"]].append(loss.item())
        losses["place head"].append(places.item())
        if (step + 1) % 50 == 0:
            told = " ".join(f"{kind} {sum(v) / len(v):.3f}" for kind, v in sorted(losses.items()))
            print(f"step {step + 1} {told} {(time.time() - began) / (step + 1 - start):.2f} s/step", flush=True)
            losses.clear()
        if (step + 1) % 100 == 0 or step + 1 == args.steps:
            save_state(
                args.out,
                model=model.state_dict(),
                head=head.state_dict(),
                optimizer=optimizer.state_dict(),
                step=step + 1,
            )


if __name__ == "__main__":
    main()
