"""Our compiled steps against the best that a person would write for one machine, all in one call on one core.

    python -m benchmarks.anchors

Needs the extra `bench`. Every contestant trains the same shape (4 untied blocks, layernorm, biases, tied embedding) on
the same words, reads logits at the answer alone, and keeps loss and norms of gradient and weights at every step:

- `hugging_face`: GPT-2 with the true vocabulary and three tokens, compiled, fused AdamW;
- `module`: an nn.Module with attention written out for three tokens, whose last block computes the answer's place
  alone, compiled as one graph, fused AdamW;
- `jax`: the same in JAX, jit over a scan of a hundred steps; for a pack, vmap over the members inside it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import loops
from benchmarks.scratch import scratch
from grokstudy.trainables.bench.bench import in_chunks
from grokstudy.trainables.bench.measure import Steps, machine, ratio, speeds
from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.tasks import TASKS
from grokstudy.trainables.training.batches import TrainingSet
from grokstudy.trainables.training.engine import CHUNK
from grokstudy.trainables.training.pack import Pack

WIDTHS = (16, 64, 128)
PACKS = ((16, 16), (64, 4))
"""Width and members."""
TARGET, PACK_TARGET = 1.25, 1.5
PLACES = 3


class GoodDecoder(nn.Module):
    """Pre-norm decoder; the last block computes the answer's place alone."""

    def __init__(self, config: RunConfig) -> None:
        """Layers as GPT-2 has them."""
        super().__init__()
        width = config.model.width
        self.embed = nn.Embedding(config.data.vocabulary, width)
        nn.init.normal_(self.embed.weight, std=0.02)
        self.position = nn.Parameter(torch.zeros(PLACES, width))
        self.blocks = nn.ModuleList(GoodBlock(width, config.model.heads) for _ in range(config.model.layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens_BT: Tensor, at_B: Tensor) -> Tensor:
        """Logits (B, V) at the answers."""
        resid = self.embed(tokens_BT) + self.position
        for block in self.blocks[:-1]:
            resid = block(resid, None)
        return self.norm(self.blocks[-1](resid, at_B)) @ self.embed.weight.T


class GoodBlock(nn.Module):
    """Attention and MLP with residual connections."""

    def __init__(self, width: int, heads: int) -> None:
        """Linear layers with bias."""
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key_value, self.out = (
            nn.Linear(width, width),
            nn.Linear(width, 2 * width),
            nn.Linear(width, width),
        )
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, resid_BTD: Tensor, at_B: Tensor | None) -> Tensor:
        """(B, T, D) to the same, or to (B, D) at the answers."""
        batch, length, width = resid_BTD.shape
        normed = self.norm1(resid_BTD)
        places = torch.arange(length)
        if at_B is None:
            own, own_normed, last = resid_BTD, normed, places.expand(batch, -1)
        else:
            rows = torch.arange(batch)
            own, own_normed, last = resid_BTD[rows, at_B][:, None], normed[rows, at_B][:, None], at_B[:, None]
        query = self.query(own_normed).view(batch, own.shape[1], self.heads, -1)
        key, value = self.key_value(normed).view(batch, length, 2, self.heads, -1).unbind(2)
        scores_BHQK = (query[:, :, None] * key[:, None]).sum(-1).permute(0, 3, 1, 2) * (width // self.heads) ** -0.5
        pattern = scores_BHQK.masked_fill(places > last[:, None, :, None], -torch.inf).softmax(-1)
        mixed = (pattern.permute(0, 2, 3, 1)[..., None] * value[:, None]).sum(2)
        own = own + self.out(mixed.reshape(batch, own.shape[1], width))
        own = own + self.down(F.gelu(self.up(self.norm2(own))))
        return own if at_B is None else own[:, 0]


def module(config: RunConfig) -> Steps:
    """The module's own loop."""
    return _torch_loop(config, GoodDecoder(config), lambda model, tokens, at: model(tokens, at))


def hugging_face(config: RunConfig) -> Steps:
    """The Hugging Face model's loop."""

    def logits(model: Any, tokens: Tensor, at: Tensor) -> Tensor:
        hidden = model.transformer(input_ids=tokens).last_hidden_state[torch.arange(len(tokens)), at]
        at_answer: Tensor = model.lm_head(hidden)
        return at_answer

    return _torch_loop(config, loops._gpt2(config, config.data.vocabulary, dropout=0.0), logits)


def _torch_loop(config: RunConfig, model: nn.Module, logits_of: Callable[[Any, Tensor, Tensor], Tensor]) -> Steps:
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=config.optim.weight_decay, fused=True)
    training = _training(config, 1)

    def loss_of(word_MB: Tensor) -> Tensor:
        batch = training.batch(word_MB)
        logits = logits_of(model, batch.inputs_MBx[0], batch.at_MBA[0, :, 0])
        return F.cross_entropy(logits, batch.target_MBAx[0, :, 0])

    def norm(tensors: list[Tensor]) -> Tensor:
        return torch.stack([x.square().sum() for x in tensors]).sum().sqrt()

    compiled, compiled_norm = torch.compile(loss_of, dynamic=False), torch.compile(norm, dynamic=False)

    def steps(count: int) -> None:
        for start in range(0, count, CHUNK):
            kept = []
            for word_MB in training.words(start, min(start + CHUNK, count), config.train.batch):
                loss = compiled(word_MB)
                loss.backward()
                with torch.no_grad():
                    norms = compiled_norm([p.grad for p in parameters]), compiled_norm(parameters)
                kept.append(torch.stack([loss.detach(), *norms]))
                optimizer.step()
                optimizer.zero_grad()
            torch.stack(kept).numpy()

    return steps


def jax_steps(config: RunConfig, members: int = 1) -> Steps:
    """JAX's loop; a step of a pack counts once. Whole hundreds of steps alone are carried out."""
    import jax
    import jax.numpy as jnp

    training = _training(config, members)
    source: Any = training.source
    width, heads, layers = config.model.width, config.model.heads, config.model.layers
    rng = np.random.default_rng(0)

    def table(*shape: int) -> Any:
        return jnp.asarray(rng.normal(0, 0.02, (members, *shape)), jnp.float32)

    def fill(value: float, *shape: int) -> Any:
        return jnp.full((members, *shape), value, jnp.float32)

    def block() -> dict[str, Any]:
        sizes = {"query": (width, width), "key_value": (width, 2 * width), "out": (width, width),
                 "up": (width, 4 * width), "down": (4 * width, width)}  # fmt: skip
        weights = {name: table(*size) for name, size in sizes.items()}
        biases = {f"{name}.bias": fill(0, size[1]) for name, size in sizes.items()}
        norms = {name: (fill(1, width), fill(0, width)) for name in ("norm1", "norm2")}
        return {**weights, **biases, **norms}

    weights = {
        "embed": table(config.data.vocabulary, width), "position": table(PLACES, width),
        "norm": (fill(1, width), fill(0, width)), "blocks": [block() for _ in range(layers)],
    }  # fmt: skip

    def normed(x: Any, gain_and_bias: Any) -> Any:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-5)
        return scaled * gain_and_bias[0] + gain_and_bias[1]

    def blocked(w: dict[str, Any], resid: Any, at: Any) -> Any:
        def linear(name: str, x: Any) -> Any:
            return x @ w[name] + w[f"{name}.bias"]

        batch, length = resid.shape[:2]
        inner, places, rows = normed(resid, w["norm1"]), jnp.arange(length), jnp.arange(batch)
        if at is None:
            own, own_inner, last = resid, inner, jnp.broadcast_to(places, (batch, length))
        else:
            own, own_inner, last = resid[rows, at][:, None], inner[rows, at][:, None], at[:, None]
        query = linear("query", own_inner).reshape(batch, -1, heads, width // heads)
        key, value = jnp.moveaxis(linear("key_value", inner).reshape(batch, length, 2, heads, -1), 2, 0)
        scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) * (width // heads) ** -0.5
        scores = jnp.where(places > last[:, None, :, None], -jnp.inf, scores)
        mixed = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), value).reshape(batch, -1, width)
        own = own + linear("out", mixed)
        own = own + linear("down", jax.nn.gelu(linear("up", normed(own, w["norm2"])), approximate=False))
        return own if at is None else own[:, 0]

    def loss_of(w: Any, tokens: Any, at: Any, target: Any) -> Any:
        resid = w["embed"][tokens] + w["position"]
        for inner in w["blocks"][:-1]:
            resid = blocked(inner, resid, None)
        logits = normed(blocked(w["blocks"][-1], resid, at), w["norm"]) @ w["embed"].T
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), target[:, None], 1).mean()

    tokens, at, target = (
        jnp.asarray(x.numpy(), jnp.int32) for x in (source.inputs_MNx, source.at_MNA, source.target_MNAx)
    )
    decay, beta1, beta2, eps, lr = config.optim.weight_decay, 0.9, 0.98, 1e-8, 1e-3

    def norm(tree: Any) -> Any:
        return jnp.sqrt(sum(jnp.square(x).sum() for x in jax.tree.leaves(tree)))

    def step(w: Any, mean: Any, square: Any, number: Any, data: Any, index: Any) -> Any:
        tokens, at, target = (x[index] for x in data)
        loss, grad = jax.value_and_grad(loss_of)(w, tokens, at[:, 0], target[:, 0])
        metrics = loss, norm(grad), norm(w)
        mean = jax.tree.map(lambda m, g: beta1 * m + (1 - beta1) * g, mean, grad)
        square = jax.tree.map(lambda s, g: beta2 * s + (1 - beta2) * g * g, square, grad)
        size, root = lr / (1 - beta1**number), jnp.sqrt(1 - beta2**number)

        def moved(x: Any, m: Any, s: Any) -> Any:
            return x * (1 - lr * decay) - size * m / (jnp.sqrt(s) / root + eps)

        return jax.tree.map(moved, w, mean, square), mean, square, metrics

    of_pack = jax.vmap(step, in_axes=(0, 0, 0, None, 0, 0)) if members > 1 else step

    def scanned(state: Any, data: Any, index_KMB: Any) -> Any:
        def body(carried: Any, index: Any) -> Any:
            w, mean, square, number = carried
            w, mean, square, metrics = of_pack(w, mean, square, number, data, index)
            return (w, mean, square, number + 1), metrics

        return jax.lax.scan(body, state, index_KMB)

    chunk = jax.jit(scanned, donate_argnums=0)
    data = (tokens, at, target)
    if members == 1:
        weights, data = jax.tree.map(lambda x: x[0], (weights, data))
    held = [(weights, jax.tree.map(jnp.zeros_like, weights), jax.tree.map(jnp.zeros_like, weights), jnp.float32(1))]

    def steps(count: int) -> None:
        for start in range(0, count, CHUNK):
            words_KMB = training.words(start, start + CHUNK, config.train.batch).numpy().view(np.uint64)
            index = (words_KMB % source.size_M.numpy().astype(np.uint64)[:, None]).astype(np.int32)
            held[0], metrics = chunk(held[0], data, jnp.asarray(index if members > 1 else index[:, 0]))
            np.asarray(metrics[0])

    return steps


def _training(config: RunConfig, members: int) -> TrainingSet:
    configs = _members(config, members)
    data = [TASKS[c.task].build(c.data, c.seed, c.eval.max_examples) for c in configs]
    return TrainingSet.of(configs, data, torch.device("cpu"))


def _members(config: RunConfig, members: int) -> list[RunConfig]:
    return [RunConfig.from_dict({**config.to_dict(), "seed": seed}) for seed in range(members)]


def ours(config: RunConfig, members: int = 1) -> Steps:
    """Our compiled engine."""
    return in_chunks(Pack(_members(config, members), Store(scratch()), "cpu", engine="compile").engine)


def cold(name: str, steps: Steps, width: int) -> None:
    """Print how long the first hundred steps take, compiling included; caches are where this process found them."""
    start, processor = time.perf_counter(), time.process_time()
    steps(CHUNK)
    print(
        json.dumps(
            {
                "figure": f"anchors/first_{CHUNK}_steps", "contestant": name, "width": width,
                "clock_s": round(time.perf_counter() - start, 1),
                "processor_s": round(time.process_time() - processor, 1), "machine": machine(),
            }
        ),
        flush=True,
    )  # fmt: skip


def hundreds(steps: Steps) -> Steps:
    """Steps that count a hundred at a time."""
    return lambda count: steps(CHUNK * count)


def main() -> None:
    """Print every figure, on one core and with caches that are empty at the beginning."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(scratch())
    torch.set_num_threads(1)
    for width in WIDTHS:
        torch.compiler.reset()  # or it would stop to compile the rivals' functions at the eighth shape
        config = loops.gpt2_shape(width)
        makers = {"ours": ours, "hugging_face": hugging_face, "module": module, "jax": jax_steps}
        contestants = {}
        for name, make in makers.items():
            contestants[name] = make(config)
            cold(name, contestants[name], width)
        found = speeds({name: hundreds(steps) for name, steps in contestants.items()}, seconds=3.0)
        for rival in list(makers)[1:]:
            ratio(f"anchors/ours_vs_{rival}", found, "ours", rival, at_least=TARGET, width=width)
    for width, members in PACKS:
        config = loops.gpt2_shape(width)
        found = speeds(
            {"ours": hundreds(ours(config, members)), "jax": hundreds(jax_steps(config, members))}, seconds=3.0
        )
        ratio("anchors/pack_vs_jax_vmap", found, "ours", "jax", at_least=PACK_TARGET, width=width, members=members)


if __name__ == "__main__":
    main()
