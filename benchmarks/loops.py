"""The loops that users have today, to measure ours against. Same data, same shape, AdamW, answer loss.

`released` does what the papers' code does (arXiv 2405.15071 and 2601.09049, section 2.5 of whose waste it reproduces):
GPT-2's 50,257-token vocabulary, sequences padded to 10, a DataLoader over a list of dicts, logits at every position,
`loss.item()` twice a step, gradient clipping and a learning-rate scheduler; on a GPU fp16 with a gradient scaler.
`tidied` keeps the Hugging Face model and drops the waste. `plain` is the same decoder out of nn.Linear, without a
member axis.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from grokstudy.trainables.bench.measure import Steps, wait
from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.tasks import TASKS
from grokstudy.trainables.tasks.graph import Examples
from grokstudy.trainables.training.batches import TrainingSet
from grokstudy.trainables.training.engine import precision

GPT2_VOCABULARY, PADDED = 50_257, 10


def gpt2_shape(width: int, batch: int = 256) -> RunConfig:
    """Our configuration of the shape that the other loops have: 4 untied blocks, layernorm, biases."""
    model = {"layers": 4, "loops": 1, "width": width, "norm": "layernorm", "bias": True, "init": "gpt2"}
    return RunConfig.from_dict({"model": model, "train": {"steps": 10**9, "batch": batch}, "eval": {"every": 10**9}})


def training_examples(config: RunConfig) -> Examples:
    """The training set."""
    train: Examples = TASKS[config.task].build(config.data, config.seed, config.eval.max_examples).train
    return train


def released(config: RunConfig, device: torch.device) -> Steps:
    """Hugging Face GPT-2 as the papers train it: the graph's tokens are added to GPT-2's."""
    model = _gpt2(config, GPT2_VOCABULARY + config.data.vocabulary, dropout=0.1).to(device)
    scaler = torch.amp.GradScaler(device.type, enabled=device.type == "cuda")
    optimizer = _adamw(model, config)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / config.optim.warmup))
    loader = DataLoader(_dicts(training_examples(config)), config.train.batch, shuffle=True, drop_last=True)
    batches = _forever(loader)

    def steps(count: int) -> None:
        total = 0.0
        for _ in range(count):
            batch = {name: column.to(device) for name, column in next(batches).items()}
            with torch.autocast(device.type, torch.float16, enabled=scaler.is_enabled()):
                loss = model(**batch).loss
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            schedule.step()
            optimizer.zero_grad()
            total += loss.item() + loss.item()

    return steps


def tidied(config: RunConfig, device: torch.device) -> Steps:
    """Hugging Face GPT-2 with the true vocabulary, three tokens, data on the device and no look at the loss."""
    model = _gpt2(config, config.data.vocabulary, dropout=0.0)
    return _indexed(config, device, model, lambda tokens: model(input_ids=tokens).logits)


def plain(config: RunConfig, device: torch.device) -> Steps:
    """The same decoder out of nn.Linear."""
    model = PlainDecoder(config)
    return _indexed(config, device, model, model)


class PlainDecoder(nn.Module):
    """Pre-norm decoder with tied embedding, logits at the answer position only."""

    def __init__(self, config: RunConfig) -> None:
        """Layers as GPT-2 has them."""
        super().__init__()
        width = config.model.width
        self.embed = nn.Embedding(config.data.vocabulary, width)
        self.position = nn.Parameter(torch.zeros(3, width))
        self.blocks = nn.ModuleList(PlainBlock(width, config.model.heads) for _ in range(config.model.layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Logits (B, T, V)."""
        resid = self.embed(tokens_BT) + self.position
        for block in self.blocks:
            resid = block(resid)
        logits: Tensor = self.norm(resid) @ self.embed.weight.T
        return logits


class PlainBlock(nn.Module):
    """Attention and MLP with residual connections."""

    def __init__(self, width: int, heads: int) -> None:
        """Linear layers with bias."""
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, resid: Tensor) -> Tensor:
        """(B, T, D) to the same."""
        batch, length, width = resid.shape
        q, k, v = self.qkv(self.norm1(resid)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
        resid = resid + self.out(mixed.reshape(batch, length, width))
        hidden: Tensor = resid + self.down(F.gelu(self.up(self.norm2(resid))))
        return hidden


def _gpt2(config: RunConfig, vocabulary: int, dropout: float) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    options = config.model
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=vocabulary, n_embd=options.width, n_layer=options.layers, n_head=options.heads,
            resid_pdrop=dropout, embd_pdrop=dropout, attn_pdrop=dropout,
        )
    )  # fmt: skip
    return model.train()


def _adamw(model: nn.Module, config: RunConfig) -> torch.optim.AdamW:
    return torch.optim.AdamW(model.parameters(), lr=config.optim.lr, weight_decay=config.optim.weight_decay)


def _indexed(config: RunConfig, device: torch.device, model: nn.Module, logits_of: Any) -> Steps:
    """Steps over device-resident data: answer loss, torch's AdamW."""
    optimizer = _adamw(model.to(device), config)
    data = TASKS[config.task].build(config.data, config.seed, config.eval.max_examples)
    training = TrainingSet.of([config], [data], device)

    def steps(count: int) -> None:
        for word_MB in training.words(0, count, config.train.batch):
            batch = training.batch(word_MB)
            with precision(config, device):
                logits = logits_of(batch.inputs_MBx[0])
                answer = logits[torch.arange(len(logits), device=device), batch.at_MBA[0, :, 0]]
                loss = F.cross_entropy(answer, batch.target_MBAx[0, :, 0])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        wait(device)

    return steps


def _dicts(examples: Examples) -> list[dict[str, Tensor]]:
    """One dict of tiny tensors per example, padded to 10 with the answer behind the question."""
    rows = []
    for tokens, at, answer in zip(examples.tokens, examples.answer_at, examples.answer, strict=True):
        question = tokens[: at + 1].tolist()
        ids = [*question, int(answer)]
        filled = ids + [0] * (PADDED - len(ids))
        labels = [-100] * len(question) + [int(answer)] + [-100] * (PADDED - len(ids))
        rows.append({"input_ids": torch.tensor(filled), "labels": torch.tensor(labels)})
    return rows


def _forever(loader: DataLoader[dict[str, Tensor]]) -> Iterator[dict[str, Tensor]]:
    while True:
        yield from loader
