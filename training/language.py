"""Second stage: the whole model learns to answer.

    python -m training.language --eyes training/runs/eyes.pt --out training/runs/language.pt
    python -m training.language --checkpoint models/smolvlm-shapes --early-steps 0 --out training/runs/further.pt
    python -m training.language --out training/runs/language.pt --export models/smolvlm-shapes   (write the checkpoint)

Resumes from --out if that file exists.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from transformers import SmolVLMForConditionalGeneration

from training import tokenizer as bpe
from training.common import decay_groups, learning_rate, load_state, save_state
from training.conversations import Conversations, attention_mask, easy_vqa_train
from training.export import export
from training.eyes import to_pixels
from training.model import build_model
from training.tokenizer import config_for

PLACE_SIDE = 6  # projector tokens a side


def place_loss(head: nn.Linear, tokens: torch.Tensor) -> torch.Tensor:
    """How well a linear head reads each token's row and column. Without this loss, the encoder loses positions (dense labels do not need
    them), and the language stage is slow to learn them again."""
    rows = torch.arange(PLACE_SIDE, device=tokens.device).repeat_interleave(PLACE_SIDE)
    columns = torch.arange(PLACE_SIDE, device=tokens.device).repeat(PLACE_SIDE)
    logits = head(tokens.float()).unflatten(-1, (2, PLACE_SIDE))  # (tiles, 36, 2, 6)
    wanted = torch.stack([rows, columns], -1).expand(len(tokens), -1, -1)
    return F.cross_entropy(logits.flatten(0, 2), wanted.flatten())


def forward_loss(
    model: SmolVLMForConditionalGeneration,
    head: nn.Linear,
    batch: dict[str, torch.Tensor],
    device: str,
    dtype: torch.dtype = torch.bfloat16,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weighted cross-entropy on the answers' tokens, and the place loss."""
    places = torch.zeros((), device=device)
    ids = batch["ids"].to(device)
    core = model.model
    with torch.autocast(device, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
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


def build_optimizer(
    model: SmolVLMForConditionalGeneration, head: nn.Module, peak: float, eyes_peak: float
) -> torch.optim.Optimizer:
    core = model.model
    words = decay_groups([core.connector, core.text_model, model.lm_head, head], 0.02)
    eyes = decay_groups([core.vision_model], 0.02)
    groups = [*({**g, "peak": peak} for g in words), *({**g, "peak": eyes_peak} for g in eyes)]
    return torch.optim.AdamW(groups, lr=peak, betas=(0.9, 0.97), fused=True)


def tokenizer_of(state: dict[str, Any] | None, checkpoint: Path | None) -> Tokenizer:
    """A run keeps its own tokenizer: the questions it is trained on may have changed since."""
    if state:
        return Tokenizer.from_str(state["tokenizer"])
    return Tokenizer.from_file(str(checkpoint / "tokenizer.json")) if checkpoint else bpe.train()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--eyes", type=Path, help="start from the first stage's result")
    parser.add_argument("--checkpoint", type=Path, help="start from an exported checkpoint: train it further")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--peak", type=float, default=1e-3)
    parser.add_argument("--eyes-peak", type=float, default=5e-4, help="learning rate of the encoder")
    parser.add_argument("--early-steps", type=int, default=4000, help="steps with mostly single tiles")
    parser.add_argument("--eyes-every", type=int, default=1, help="train the encoder at every n-th step only: faster")
    parser.add_argument(
        "--dtype",
        choices=("bfloat16", "float32"),
        default="bfloat16",
        help="float32 is faster on CPUs whose bfloat16 products are slow (half the speed was seen on one)",
    )
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--export", type=Path)
    parser.add_argument(
        "--keep", type=float, default=0.0, help="with --export and --checkpoint: this share of the checkpoint's weights"
    )
    args = parser.parse_args()
    if args.export and not args.out.exists():
        parser.error(f"--export: {args.out} is not there; train first")
    if args.keep and not (args.export and args.checkpoint):
        parser.error("--keep goes with --export and --checkpoint")
    if not (args.export or args.out.exists() or args.eyes or args.checkpoint):
        parser.error("a new run needs --eyes or --checkpoint")
    return args


def begin(
    model: SmolVLMForConditionalGeneration,
    head: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any] | None,
    args: argparse.Namespace,
) -> int:
    """Load what the run continues from. Returns the number of finished steps."""
    if state:
        model.load_state_dict(state["model"])
        head.load_state_dict(state["head"])
        optimizer.load_state_dict(state["optimizer"])
        return int(state["step"])
    if args.eyes:
        eyes = torch.load(args.eyes, weights_only=True)
        for module, weights in zip((model.model.vision_model, model.model.connector), eyes["modules"]):
            module.load_state_dict(weights)
    else:
        model.load_state_dict(load_file(args.checkpoint / "model.safetensors"))
    return 0


@torch.no_grad()
def mean_with(model: nn.Module, others: dict[str, torch.Tensor], share: float) -> None:
    """Weights between those of a run and those it began from are slightly better than either (measured here)."""
    for name, weights in model.state_dict().items():
        if name in others:
            weights.lerp_(others[name].to(weights), share)


def main() -> None:
    args = arguments()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(args.seed)
    state = load_state(args.out)
    tokenizer = tokenizer_of(state, args.checkpoint)
    model = build_model(config_for(tokenizer)).to(device)
    if args.export and state:
        model.load_state_dict(state["model"])
        if args.keep:
            mean_with(model, load_file(args.checkpoint / "model.safetensors"), args.keep)
        export(model, tokenizer, args.export)
        print(f"wrote {args.export} after {state['step']} steps")
        return
    dtype: torch.dtype = getattr(torch, args.dtype)
    model.set_attn_implementation("plain" if device == "cpu" and dtype == torch.bfloat16 else "sdpa")
    head = nn.Linear(model.config.text_config.hidden_size, 2 * PLACE_SIDE).to(device)  # not exported
    optimizer = build_optimizer(model, head, args.peak, args.eyes_peak)
    start = begin(model, head, optimizer, state, args)
    data = Conversations(tokenizer.to_str(), args.seed * 100_003 + start, easy_vqa_train(), start, args.early_steps)
    loader = iter(DataLoader(data, batch_size=None, num_workers=1, prefetch_factor=6))
    began, losses = time.time(), defaultdict(list)
    for step in range(start, args.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, args.steps, group["peak"], 150)
        batch = next(loader)
        model.model.vision_model.requires_grad_(step % args.eyes_every == 0)
        loss, places = forward_loss(model, head, batch, device, dtype)
        (loss + 0.15 * places).backward()
        nn.utils.clip_grad_norm_([p for p in model.parameters() if p.grad is not None], 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses[batch["kind"]].append(loss.item())
        losses["place head"].append(places.item())
        if (step + 1) % 100 == 0:
            told = " ".join(f"{kind} {sum(v) / len(v):.3f}" for kind, v in sorted(losses.items()))
            print(f"step {step + 1} {told} {(time.time() - began) / (step + 1 - start):.2f} s/step", flush=True)
            losses.clear()
        if (step + 1) % 200 == 0 or step + 1 == args.steps:
            save_state(
                args.out,
                model=model.state_dict(),
                head=head.state_dict(),
                tokenizer=tokenizer.to_str(),
                optimizer=optimizer.state_dict(),
                step=step + 1,
            )


if __name__ == "__main__":
    main()
