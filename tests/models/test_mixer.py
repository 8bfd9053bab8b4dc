"""The recursive mixer: equality with plain torch modules, recursion, gradients, targets; stablemax; weight average."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from small_runs import finish, train_to
from torch import Tensor

from grokstudy.trainables.config import Model, RunConfig
from grokstudy.trainables.models import build, parameter_count, step_flops
from grokstudy.trainables.models.mixer import Mixer
from grokstudy.trainables.models.network import IGNORED
from grokstudy.trainables.schema import TABLES
from grokstudy.trainables.storage import checkpoint, records
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.tasks.base import Batch
from grokstudy.trainables.tasks.graph import chain_shape
from grokstudy.trainables.training.losses import LOSSES, stablemax_losses
from grokstudy.trainables.training.optimizer import RATES, AdamW
from grokstudy.trainables.training.pack import Pack

Small = Callable[..., RunConfig]
VOCABULARY = 13
SHAPE = chain_shape(VOCABULARY, VOCABULARY)
OPTIONS = Model(family="mixer", width=16, layers=2, thinks=2, slots=3)


def setup(members: int = 1) -> tuple[Mixer, dict[str, Tensor], Tensor]:
    model = Mixer(OPTIONS, SHAPE)
    flat_MP = torch.stack([model.initial(seed) for seed in range(members)])
    tokens = torch.randint(VOCABULARY, (members, 5, 3), generator=torch.Generator().manual_seed(0))
    return model, model.unpack(flat_MP), tokens


def reference(weights: dict[str, Tensor], tokens: Tensor, model: Mixer) -> list[Tensor]:
    """One member, written as the released code writes it, positions in rows. Every stage in turn."""

    def swiglu(name: str, x: Tensor) -> Tensor:
        gate, up = F.linear(x, weights[f"{name}.gate_up"].T).chunk(2, dim=-1)
        return F.linear(F.silu(gate) * up, weights[f"{name}.down"].T)

    def norm(x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5)

    def blocks(z: Tensor) -> Tensor:
        for i in range(2):
            z = z.transpose(1, 2)
            z = norm(z + swiglu(f"{i}.places", z)).transpose(1, 2)
            z = norm(z + swiglu(f"{i}.channels", z))
        return z

    blank = torch.full((len(tokens), 2), VOCABULARY - 1)
    embedded = weights["embed"][torch.cat([tokens, blank], dim=1)]
    x = 4.0 * torch.cat([embedded, weights["slots"].expand(len(tokens), -1, -1)], dim=1)
    z_h, z_l = (model.start_D[name].expand_as(x) for name in ("z_H", "z_L"))
    stages = [z_h]
    for _ in range(2):
        for _ in range(2):
            z_l = blocks(z_l + z_h + x)
            stages.append(z_l)
        z_h = blocks(z_h + z_l)
        stages.append(z_h)
    return stages


def test_equals_the_recursion_written_with_torch_functions() -> None:
    model, weights, tokens = setup(2)
    seen: list[Tensor] = []

    def record(_: int, z: Tensor) -> Tensor:
        seen.append(z)
        return z

    last = model.residual(weights, tokens, record)
    for member in range(2):
        stages = reference({name: value[member] for name, value in weights.items()}, tokens[member], model)
        assert len(seen) == len(stages) == model.depth + 1 == 7
        for found, expected in zip(seen, stages, strict=True):
            torch.testing.assert_close(found[member], expected, rtol=1e-4, atol=1e-4)
        logits = stages[-1][:, 3] @ weights["unembed"][member]
        answer_at = torch.full(tokens.shape[:2], 2)
        torch.testing.assert_close(
            model.answer_logits(weights, tokens, answer_at)[member], logits, rtol=1e-4, atol=1e-4
        )
    torch.testing.assert_close(last, seen[-1])


def test_every_position_sees_every_other() -> None:
    model, weights, tokens = setup()
    other = tokens.clone()
    other[:, :, 2] = (other[:, :, 2] + 1) % VOCABULARY
    change = (model.residual(weights, tokens) - model.residual(weights, other)).abs().amax(dim=(0, 1, 3))
    assert (change > 1e-4).all()


def test_gradients_flow_through_the_last_cycle_only() -> None:
    model, _, tokens = setup()
    flat_MP = model.initial(0)[None].requires_grad_()
    reached: list[bool] = []

    def record(_: int, z: Tensor) -> Tensor:
        reached.append(z.requires_grad)
        return z

    model.residual(model.unpack(flat_MP), tokens, record).sum().backward()  # type: ignore[no-untyped-call]
    assert reached == [False] * 4 + [True] * 3
    assert flat_MP.grad is not None
    embed = model.unpack(flat_MP.grad)["embed"]
    assert embed.abs().sum() > 0


def test_resuming_from_every_stage_gives_the_same_answer() -> None:
    model, weights, tokens = setup(2)
    path: list[Tensor] = []

    def record(_: int, z: Tensor) -> Tensor:
        path.append(z)
        return z

    model.residual(weights, tokens, record)
    answer_at = torch.full(tokens.shape[:2], 2)
    whole = model.answer_logits(weights, tokens, answer_at)
    for stage in range(model.depth + 1):
        torch.testing.assert_close(model.resume(weights, tokens, path[: stage + 1], answer_at), whole)


def test_targets_copy_the_input_and_fill_the_tail_in() -> None:
    model = Mixer(OPTIONS, SHAPE)
    tokens, answer_at = torch.tensor([[[4, 7, 8], [5, 9, 12]]]), torch.tensor([[2, 1]])
    targets = model.targets(tokens, answer_at, torch.tensor([[1, 3]]))
    end, no = VOCABULARY, IGNORED
    assert targets.tolist() == [[[4, 7, 8, 1, end, no, no, no], [5, 9, 3, end, no, no, no, no]]]


def test_a_loss_over_all_tokens_weighs_each_example_the_same() -> None:
    model, weights, _ = setup()
    batch = Batch(torch.tensor([[[4, 7, 8], [5, 9, 12]]]), torch.tensor([[[2], [1]]]), torch.tensor([[[1], [3]]]))
    surprise = -model.unembed(weights, model.residual(weights, batch.inputs_MBx))[0].log_softmax(-1)
    first = sum(surprise[0, place, token] for place, token in enumerate((4, 7, 8, 1, VOCABULARY))) / 5
    second = sum(surprise[1, place, token] for place, token in enumerate((5, 9, 3, VOCABULARY))) / 4
    torch.testing.assert_close(LOSSES["all_tokens"](model, weights, batch)[0], (first + second) / 2)


def test_stablemax_against_hand_counted_scores() -> None:
    logits = torch.tensor([[[2.0, 0.0, -1.0, -3.0]]])
    score = torch.tensor([3.0, 1.0, 0.5, 0.25])
    expected = -(score / score.sum()).log()
    for token in range(4):
        torch.testing.assert_close(stablemax_losses(logits, torch.tensor([[token]]))[0, 0], expected[token])
    assert stablemax_losses(logits, torch.tensor([[IGNORED]])).item() == 0


def test_stablemax_has_finite_gradients_at_large_logits() -> None:
    logits = torch.tensor([[[1e4, -1e4, 0.0]]], requires_grad=True)
    stablemax_losses(logits, torch.tensor([[1]])).sum().backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert (logits.grad != 0).any()


def test_initial_values_are_truncated_and_slots_are_zero() -> None:
    model = Mixer(Model(family="mixer", width=64), SHAPE)
    weights = model.unpack(model.initial(0)[None])
    assert torch.count_nonzero(weights["slots"]) == 0
    for name in ("embed", "unembed", "0.channels.gate_up"):
        assert weights[name].std() == pytest.approx(1 / 8, rel=0.05)
        assert weights[name].abs().max() <= 2 / 8 / 0.8796 + 1e-6


def test_parameters_of_the_paper() -> None:
    paper = Model(family="mixer", width=1536, inner_multiple=256)
    assert parameter_count(paper, chain_shape(2205, 2205)) == pytest.approx(44.6e6, rel=0.01)
    assert paper.depth == 14
    assert build(paper, chain_shape(20, 10)).depth == 14
    assert step_flops(paper, chain_shape(2205, 2000), 512) == pytest.approx(23e12, rel=0.15)


@pytest.mark.parametrize(
    ("model", "key"),
    [({"family": "mixer", "heads": 2}, "model.heads"), ({"thinks": 3}, "model.thinks")],
)
def test_options_of_the_other_family_are_named(model: dict[str, object], key: str) -> None:
    (problem,) = RunConfig.from_dict({"model": model}).problems()
    assert problem.key == key
    assert "leave it out" in problem.message


def mixer_run(**train: object) -> RunConfig:
    return RunConfig.from_dict(
        {
            "data": {"entities": 20, "relations": 8, "out_degree": 5, "ood_fraction": 0.2, "phi": 2.0},
            "model": {"family": "mixer", "layers": 1, "width": 16, "thinks": 2, "slots": 2},
            "train": {
                "steps": 30, "batch": 16, "checkpoint_every": 10, "loss": "all_tokens_stablemax", "ema": 0.9, **train
            },
            "eval": {"every": 10, "probe_examples": 20},
        }
    )  # fmt: skip


def test_a_mixer_with_an_average_resumes_bit_identically(tmp_path: Path) -> None:
    config = mixer_run()
    whole, broken = finish(config, Store(tmp_path / "whole")), Store(tmp_path / "broken")
    pack = Pack([config], broken)
    train_to(pack, 20)
    pack.writer.flush()
    resumed = finish(config, broken)
    for name in TABLES:
        first, second = (records.read(run, name).drop_columns(["attempt"]) for run in (whole, resumed))
        assert first.equals(second), name
    states = [checkpoint.newest(run)[0] for run in (whole, resumed)]
    assert states[0] is not None
    assert states[1] is not None
    assert states[0].average_P is not None
    assert states[1].average_P is not None
    assert torch.equal(states[0].average_P, states[1].average_P)
    assert not torch.equal(states[0].average_P, states[0].flat_P)


def test_the_average_is_what_is_evaluated(tmp_path: Path) -> None:
    plain, averaged = (finish(mixer_run(ema=ema), Store(tmp_path / str(ema))) for ema in (0.0, 0.9))
    losses = [records.read(run, "steps")["loss"].to_pylist() for run in (plain, averaged)]
    evals = [records.read(run, "evals")["loss"].to_pylist() for run in (plain, averaged)]
    assert losses[0] == losses[1]
    assert evals[0] != evals[1]
    state = checkpoint.newest(plain)[0]
    assert state is not None
    assert state.average_P is None


def test_the_average_against_its_definition(small: Small) -> None:
    configs = [small(train={"ema": 0.5}), small(seed=1)]
    optimizer, flat_MP = AdamW(configs, torch.ones(3), torch.device("cpu")), torch.ones(2, 3)
    optimizer.begin(flat_MP, [None, None])
    expected = flat_MP[0].clone()
    for _ in range(3):
        optimizer.step(flat_MP, torch.ones(2, 3), torch.full((len(RATES), 2), 0.1))
        expected = 0.5 * expected + 0.5 * flat_MP[0]
    torch.testing.assert_close(optimizer.evaluated(flat_MP)[0], expected)
    assert torch.equal(optimizer.evaluated(flat_MP)[1], flat_MP[1])
    optimizer.keep(torch.tensor([1]))
    assert optimizer.evaluated(flat_MP[1:]).shape == (1, 3)
