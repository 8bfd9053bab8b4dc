"""What one run is: the resolved configuration, its content hash, and what is impossible about it.

Owns the format of `run.json`'s `config`. `run_id` is a hash of everything that changes the numbers and of
nothing that only says how they are computed (device, packing, checkpoint cadence, paths).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from grokstudy.trainables import plugins
from grokstudy.trainables.functions import TRAINABLES, Trainable, declared_by
from grokstudy.trainables.options import Problem, did_you_mean, fields_of, fits, flat, misfits, option
from grokstudy.trainables.schema import SEEDS
from grokstudy.trainables.tasks import DEFAULT, TASKS
from grokstudy.trainables.tasks.base import Shape

MOST_STEPS = 10**9
"""What fits into the name of a part."""
THIN = 20
"""On the thinning grid, `every` aside, a step is at least so many times the distance to the next evaluation."""
NUMERICS = 1
"""Version of the numbers: raised when a change of code changes the curves of an unchanged configuration."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A causal decoder (arXiv 2405.15071), the attention-free mixer of 2601.09049's code, or attention alone."""

    family: Literal["decoder", "mixer", "attention"] = option(
        "decoder",
        "causal transformer with blocks in a loop, attention-free mixer with recursive states, or attention alone",
    )
    layers: int = option(2, "unique transformer blocks", ge=1)
    loops: int = option(2, "times the stack of blocks is applied; effective depth is layers x loops", ge=1)
    width: int = option(64, "width D of the residual stream", ge=1)
    heads: int = option(4, "attention heads; must divide the width", ge=1)
    mlp_ratio: int = option(4, "hidden width of the MLP over D", ge=1)
    norm: Literal["rmsnorm", "layernorm"] = option("rmsnorm", "normalisation; rmsnorm here has a gain, no bias")
    norm_place: Literal["pre", "post"] = option("pre", "normalise the input of each sublayer, or its sum")
    activation: Literal["gelu", "relu"] = option("gelu", "non-linearity of the MLP")
    positions: Literal["learned", "learned_offset", "rope", "none"] = option(
        "learned", "position embedding; with an offset that each training example draws; rotary; or none"
    )
    tied: bool = option(True, "unembedding = embedding matrix")
    bias: bool = option(False, "biases in the linear layers and in layernorm")
    input_injection: bool = option(False, "add the embedding again at the start of every loop")
    init: Literal["fan_in", "gpt2"] = option(
        "fan_in", "std of linear weights: init_scale/sqrt(fan_in), or .02 with residual outputs over sqrt(2 depth)"
    )
    init_scale: float = option(0.5, "scale of the fan_in initialisation", gt=0)
    embedding_std: float = option(0.02, "std of token and position embeddings", gt=0)
    cycles: int = option(2, "mixer: cycles of thinking and committing; only the last has gradients", ge=1)
    thinks: int = option(6, "mixer: updates of the inner state per cycle", ge=1)
    slots: int = option(16, "mixer: learned vectors beside the tokens", ge=0)
    inner_multiple: int = option(8, "mixer: inner widths are rounded up to a multiple (256 in the paper's code)", ge=1)

    rope_theta: float = option(10_000.0, "decoder: base of the rotary position embedding", gt=1, later=True)
    scores: Literal["joint", "factored"] = option(
        "joint", "attention: one matrix Q of scores, or a product of two of this width", later=True
    )
    values: Literal["trained", "fixed"] = option(
        "trained", "attention: values are trained, or the channels that the task names", later=True
    )
    attention_std: float = option(0.0, "attention: std of its initial matrices, 0 for zero", ge=0, later=True)

    @property
    def depth(self) -> int:
        """Effective depth: number of block applications, or of the mixer's state updates."""
        depths = {"decoder": self.layers * self.loops, "mixer": self.cycles * (self.thinks + 1), "attention": 1}
        return depths[self.family]


FAMILY_OPTIONS = {
    "decoder": (
        "layers", "loops", "heads", "mlp_ratio", "norm", "norm_place", "activation", "positions", "tied", "bias",
        "input_injection", "init", "init_scale", "embedding_std", "rope_theta",
    ),
    "mixer": ("layers", "mlp_ratio", "cycles", "thinks", "slots", "inner_multiple"),
    "attention": ("heads", "scores", "values", "attention_std"),
}  # fmt: skip
"""Options that mean something for a family; `width` for all (of `attention`: of its factored scores)."""
OPTIMISER_OPTIONS = {"adamw": ("beta1", "beta2", "eps"), "sgd": ("momentum",)}
"""Options that mean something for one optimiser alone."""


@dataclass(frozen=True, kw_only=True)
class Optim:
    """AdamW with decoupled weight decay (arXiv 1711.05101), or gradient descent, and linear warm-up."""

    name: Literal["adamw", "sgd"] = option("adamw", "optimiser; sgd has the same decoupled decay")
    lr: float = option(2e-3, "peak learning rate", gt=0)
    weight_decay: float = option(0.3, "decoupled weight decay, per unit of learning rate", ge=0)
    decay: Literal["all", "matrices"] = option("all", "what decays: every parameter, or only weight matrices")
    beta1: float = option(0.9, "decay of the first moment", ge=0, lt=1)
    beta2: float = option(0.95, "decay of the second moment", ge=0, lt=1)
    eps: float = option(1e-8, "added to the root of the second moment", gt=0)
    warmup: int = option(100, "steps of linear warm-up", ge=0)
    schedule: Literal["constant", "cosine"] = option(
        "constant", "after warm-up; cosine depends on train.steps, so shorter lengths are then runs of their own"
    )
    clip: float | None = option(None, "largest gradient norm, null for none", gt=0)
    momentum: float = option(0.0, "sgd: share of the last update's direction that is kept", ge=0, lt=1, later=True)


@dataclass(frozen=True, kw_only=True)
class Train:
    """Length and make-up of training."""

    steps: int = option(3000, "optimiser steps", ge=1)
    batch: int = option(256, "examples per step, drawn with replacement", ge=1)
    loss: Literal["answer", "all_tokens", "answer_stablemax", "all_tokens_stablemax"] = option(
        "answer",
        "of the answers (cross-entropy; half the squared error where they are real), or of every token to be said; "
        "softmax, or stablemax (arXiv 2501.04697)",
    )
    ema: float = option(0.0, "decay of the average of the weights that is evaluated, 0 for none", ge=0, lt=1)
    precision: Literal["fp32", "bf16", "tf32"] = option(
        "fp32",
        "arithmetic of matrix products: bf16 those of the forward pass in bfloat16; tf32 all of them with ten bits of "
        "mantissa on a GPU, and as fp32 on a CPU; master weights are fp32",
    )
    checkpoint_every: int = option(1000, "steps between checkpoints (does not change any number)", ge=1)


@dataclass(frozen=True, kw_only=True)
class Eval:
    """What is measured, on what, and when."""

    grid: Literal["linear", "log", "thinning"] = option(
        "linear",
        "evaluate every `every` steps; `per_decade` times a decade; or every `every` steps until 40 times that, and "
        "from there on each 3.4 to 5 per cent later than the one before",
    )
    every: int = option(100, "steps between evaluations on the linear grid, and at first on the thinning one", ge=1)
    per_decade: int = option(20, "evaluations per factor of ten on the log grid", ge=1, le=10_000)
    max_examples: int = option(1000, "largest size of an evaluation split", ge=1)
    probes: tuple[str, ...] = option(
        ("logit_lens", "patching", "cqsp", "circuit"), "measurements inside the model at each evaluation"
    )
    probe_examples: int = option(100, "largest number of examples per split that a probe looks at", ge=1)
    generated: int = option(200, "largest number per split that a model answers freely, if it can", ge=1, later=True)
    temperature: float = option(
        0.0,
        "what logits are divided by before a free answer is drawn, the same draw at every step; 0: the largest",
        ge=0,
        later=True,
    )


SECTIONS: dict[str, type[Any]] = {"model": Model, "optim": Optim, "train": Train, "eval": Eval}


@dataclass(frozen=True, kw_only=True)
class Start:
    """Begin with what another run of the same root had after so many steps (`training/warm_start.py`)."""

    run_id: str
    step: int
    state: Literal["weights", "all"] = "weights"
    """Its weights alone; or moments and count of updates too, so that the run goes on where the other one was."""

    def to_json(self) -> dict[str, Any]:
        """Plain values; the state only where it is all, so that ids of older runs hold."""
        plain = dataclasses.asdict(self)
        return plain if self.state != Start.state else {key: plain[key] for key in ("run_id", "step")}


@dataclass(frozen=True)
class Unloaded:
    """Options of a task whose code this process does not have: kept as they are, so that ids hold."""

    text: str
    """As JSON."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One training, fully resolved. `data` is the options class of the task (`TASKS[task].Options`).

    A task or probe from outside is named together with its code (`plugins.py`), which is so a part of what a run is.
    """

    task: str = DEFAULT
    seed: int = 0
    """Of the data, the initialisation and the order of batches."""
    init_seed: int | None = None
    """Of the initialisation, where it is another one; None for `seed`."""
    order_seed: int | None = None
    """Of which example each step draws, where it is another one; None for `seed`."""
    data: Any = field(default_factory=TASKS[DEFAULT].Options)
    model: Model = field(default_factory=Model)
    optim: Optim = field(default_factory=Optim)
    train: Train = field(default_factory=Train)
    eval: Eval = field(default_factory=Eval)
    start: Start | None = None
    """Where the weights come from; None for the seed's own initialisation."""
    trainable: Trainable | None = None
    """A training function from outside, which trains instead of ours."""
    own: Any = None
    """Its options; None without one."""
    numerics: int = NUMERICS
    """Version of the code's numbers that the run belongs to; an older one only when a person asks for its runs."""

    def __post_init__(self) -> None:
        """A seed that is given and is no other one is none, so that equal runs have equal ids."""
        for name in SEEDS[1:]:
            if getattr(self, name) == self.seed:
                object.__setattr__(self, name, None)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> RunConfig:
        """Build from nested plain values. Raises ValueError that names the key and the known ones."""
        if not isinstance(raw, Mapping):
            raise ValueError(f"{raw!r} is no configuration; it must be a mapping of sections")
        known = ["task", *SEEDS, "data", *SECTIONS, "start", "numerics", "trainable", "own"]
        unknown = set(raw) - set(known)
        if unknown:
            word = min(unknown)
            raise ValueError(f"{word} is unknown; {did_you_mean(word, known)}")
        task = raw.get("task", DEFAULT)
        if not isinstance(task, str) or not (task in TASKS or plugins.is_full(task)):
            raise ValueError(f"task: {task!r} is unknown; {did_you_mean(str(task), list(TASKS))}")
        trainable = None if raw.get("trainable") is None else Trainable.from_json(raw["trainable"])
        function = None if trainable is None else trainable.function
        given = {"eval": {}, **raw}
        if isinstance(given["eval"], Mapping) and task in TASKS:
            given["eval"] = {"probes": default_probes(task, function), **given["eval"]}
        kinds = sections_of(task, function)
        sections = {name: _section(name, kind, given.get(name, {})) for name, kind in kinds.items()}
        start = None if raw.get("start") is None else _start(raw["start"])
        seeds: dict[str, Any] = {name: _whole(name, raw[name]) for name in SEEDS if raw.get(name) is not None}
        numerics = _whole("numerics", raw.get("numerics", NUMERICS))
        return cls(task=task, start=start, trainable=trainable, numerics=numerics, **seeds, **sections)

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values, ready for JSON. What few runs have (`start`) is there only where there is any."""
        plain: dict[str, Any] = {"task": self.task}
        plain |= {name: getattr(self, name) for name in SEEDS if getattr(self, name) is not None}
        plain |= {name: json.loads(_as_json(getattr(self, name))) for name in ("data", *SECTIONS)}
        if self.trainable is not None:
            plain |= {"trainable": self.trainable.to_json(), "own": json.loads(_as_json(self.own))}
        if self.start is not None:
            plain["start"] = self.start.to_json()
        if self.numerics != NUMERICS:
            plain["numerics"] = self.numerics
        return plain

    def flat(self) -> dict[str, Any]:
        """Every option by its dotted name, task and seed by theirs."""
        return flat(self.to_dict())

    @property
    def starting_seed(self) -> int:
        """The seed of the initialisation."""
        return self.seed if self.init_seed is None else self.init_seed

    @property
    def drawing_seed(self) -> int:
        """The seed of which example each step draws."""
        return self.seed if self.order_seed is None else self.order_seed

    @property
    def offset(self) -> int:
        """Updates that its state had had when its step 0 began: they count for schedule, moments and batches."""
        return 0 if self.start is None or self.start.state == "weights" else self.start.step

    def with_steps(self, steps: int) -> RunConfig:
        """The same run, trained to another length."""
        return dataclasses.replace(self, train=dataclasses.replace(self.train, steps=steps))

    def problems(self) -> list[Problem]:
        """Everything impossible about this configuration that can be told without building the data."""
        for key, name, options in (("task", self.task, self.data), ("trainable", self.function, self.own)):
            if isinstance(options, Unloaded):
                return [Problem(key, f"the code of {name} is not here")]
        if absent := list(_absent_files(self.data)):
            return absent
        own = [getattr(options, "problems", list) for options in (self.data, self.own)]
        return list(_misfits(self)) or [*_cross_checks(self), *(problem for problems in own for problem in problems())]

    @cached_property
    def example(self) -> Shape:
        """What an example of the task looks like."""
        shape: Shape = TASKS[self.task].shape(self.data)
        return shape

    @property
    def function(self) -> str | None:
        """Full name of the training function from outside, if one trains."""
        return None if self.trainable is None else self.trainable.function

    @property
    def prefix_stable(self) -> bool:
        """Whether a shorter training is exactly the beginning of a longer one."""
        return self.optim.schedule == "constant" if self.trainable is None else self.trainable.prefix_stable

    @property
    def depth(self) -> int:
        """Effective depth of the model."""
        return self.model.depth

    def identity(self) -> dict[str, Any]:
        """The part of the configuration that changes the numbers."""
        config = self.to_dict()
        for name in sections_of(self.task, self.function):
            options = getattr(self, name)
            for field_ in fields_of(type(options)).values():
                if field_.later and getattr(options, field_.attribute) == field_.default:
                    del config[name][field_.attribute]
        del config["train"]["checkpoint_every"]
        if self.prefix_stable:
            del config["train"]["steps"]
        return {**config, "numerics": self.numerics}

    @cached_property
    def run_id(self) -> str:
        """16 hex digits: sha256 of the canonical JSON of `identity()`."""
        return _digest(self.identity())

    @cached_property
    def training_id(self) -> str:
        """As `run_id`, of what changes a weight or a row of `steps`: equal where only measurements differ.

        Nothing of `eval` does: `max_examples` cuts evaluation splits, never the training set.
        """
        return _digest({key: value for key, value in self.identity().items() if key != "eval"})

    def shape(self) -> tuple[Any, ...]:
        """What must be equal for runs to train as one stacked model; a training function trains one alone."""
        return (
            self.task, self.example, TASKS[self.task].splits_of(self.data),
            self.model, self.train.batch, self.train.loss, self.train.precision,
            self.optim.name, self.optim.decay, self.eval, self.train.checkpoint_every, self.trainable and self.run_id,
        )  # fmt: skip


def _digest(identity: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(identity).encode()).hexdigest()[:16]


def _as_json(options: Any) -> str:
    if isinstance(options, Unloaded):
        return options.text
    return str(_kept(options, "_json", lambda section: json.dumps(dataclasses.asdict(section))))


def _kept(options: Any, name: str, make: Callable[[Any], Any]) -> Any:
    """What follows from a section, kept with the object: ten thousand runs of a study share most of their sections.

    Not looked up by equality: 2 and 2.0 are equal, and their texts are not.
    """
    if name not in vars(options):
        object.__setattr__(options, name, make(options))
    return vars(options)[name]


def sections_of(task: str, function: str | None = None) -> dict[str, type[Any]]:
    """The options class of each section of a configuration for this task, and this training function from outside."""
    sections = {"data": TASKS[task].Options if task in TASKS else Unloaded, **SECTIONS}
    if function is not None:
        sections["own"] = declared_by(function).options if function in TRAINABLES else Unloaded
    return sections


def default_probes(task: str, function: str | None = None) -> tuple[str, ...]:
    """The probes of a study that names none: those of its task, for models of ours."""
    return () if function is not None else TASKS[task].default_probes


def canonical_json(value: Any) -> str:
    """One text per value: sorted keys, no spaces, floats by repr; NaN and infinity are refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def eval_steps(options: Eval, last: int) -> list[int]:
    """Steps at which to evaluate, 0 and `last` included. A shorter run's grid is a prefix of a longer one's."""
    return sorted({step for step in _grid(options, last) if step < last} | {0, last})


def _grid(options: Eval, last: int) -> Iterator[int]:
    if options.grid == "linear":
        yield from range(0, last + 1, options.every)
        return
    if options.grid == "thinning":
        count = 0  # of `every`
        while count * options.every <= last:
            yield count * options.every
            count += max(1, count // THIN)
        return
    exponent, step = 0, 1
    while step <= last:
        yield step
        exponent += 1
        step = round(10 ** (exponent / options.per_decade))


def _start(raw: Any) -> Start:
    wanted = {"run_id": str, "step": int, "state": str}
    if not isinstance(raw, Mapping) or {key: type(value) for key, value in {"state": "", **raw}.items()} != wanted:
        raise ValueError(f"start: {raw!r} is not possible; it names a run and a step, {{run_id: ..., step: ...}}")
    if raw.get("state", Start.state) not in ("weights", "all"):
        raise ValueError(f"start.state: {raw['state']!r} is not possible; it is weights or all")
    if raw["step"] < 0:
        raise ValueError(f"start.step: {raw['step']} is not possible; it must be at least 0")
    return Start(**raw)


def _whole(name: str, raw: Any) -> int:
    if not fits(raw, int):
        raise ValueError(f"{name}: {raw!r} is not possible; it must be a whole number")
    return int(raw)


def _section(name: str, kind: type[Any], raw: Any) -> Any:
    if not isinstance(raw, Mapping):
        raise ValueError(f"{name}: {raw!r} is not possible; it must be a mapping of options")
    if kind is Unloaded:
        return Unloaded(json.dumps(raw))
    known = {f.name: f for f in dataclasses.fields(kind)}
    for key in raw:
        if key not in known:
            raise ValueError(f"{name}.{key} is unknown; {did_you_mean(key, list(known))}")
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in raw.items()})


def _absent_files(data: Any) -> Iterator[Problem]:
    """Files of data whose content this process does not have, without which nothing else can be told."""
    for field_ in fields_of(type(data)).values():
        name = getattr(data, field_.attribute)
        if field_.file is not None and isinstance(name, str) and not plugins.is_here(name):
            message = f"{name} is not here with its content; load the study whose file names it"
            yield Problem(f"data.{field_.key}", message)


def _misfits(config: RunConfig) -> Iterator[Problem]:
    for name in sections_of(config.task, config.function):
        for misfit in _kept(getattr(config, name), "_misfits", misfits):
            yield Problem(f"{name}.{misfit.key}", misfit.message)
    if config.seed < 0:
        yield Problem("seed", f"{config.seed} is not possible; it must be at least 0")


def _of_another_family(model: Model) -> Iterator[Problem]:
    """Options that were changed although the family does not have them."""
    for name in sorted({name for names in FAMILY_OPTIONS.values() for name in names}):
        if name not in FAMILY_OPTIONS[model.family] and getattr(model, name) != getattr(Model, name):
            yield Problem(f"model.{name}", f"means nothing for model.family {model.family}; leave it out")


def _of_another_task(config: RunConfig) -> Iterator[Problem]:
    """A family or a loss that the task has no use for."""
    task, shape = TASKS[config.task], config.example
    for key, word, possible in (
        ("model.family", config.model.family, task.families),
        ("train.loss", config.train.loss, task.losses),
    ):
        if word not in possible:
            yield Problem(key, f"{word} is not for task {config.task}; possible: {', '.join(possible)}")
    for name in () if task.generates else ("generated", "temperature"):
        if getattr(config.eval, name) != getattr(Eval, name):
            yield Problem(
                f"eval.{name}", f"means nothing for task {config.task}, which generates nothing; leave it out"
            )
    if config.eval.temperature and not shape.classes:
        yield Problem(
            "eval.temperature", f"is for classes to be drawn, and task {config.task} answers with real numbers"
        )
    if config.model.positions == "learned_offset" and not shape.fields:
        yield Problem("model.positions", f"learned_offset needs tokens, and task {config.task} has real inputs")
    if config.model.family == "attention" and config.model.values == "fixed" and shape.value is None:
        yield Problem("model.values", f"fixed is not for task {config.task}, which names no channels; use trained")


MOST_BYTES = 200e9
"""Of memory for one run: more than any one machine of a study has."""
MOST_EVALUATIONS, MOST_FILES = 1_000_000, 1_000_000


def _sizes(config: RunConfig) -> Iterator[Problem]:
    """What would take more memory, files or time than there is, told by the number that is at fault.

    Estimates in closed form, so that nothing is allocated to find out: parameters, gradients and moments at 16 bytes,
    activations of a step at 4; of its data the task knows.
    """
    yield from _lengths(config)
    model, train, shape = config.model, config.train, config.example
    vocabulary = max(sum(shape.fields), shape.width)
    parameters = vocabulary * model.width * 2 + model.layers * model.width**2 * (4 + 2 * model.mlp_ratio)
    places = shape.length if model.family != "mixer" else shape.length + 2 + model.slots
    activations = train.batch * places * model.depth * model.width * (12 + 4 * model.mlp_ratio)
    width = {"model.width", "model.layers", "model.mlp_ratio"}
    stored = TASKS[config.task].memory(config.data)
    size, words, graph = stored or (0.0, "", frozenset())
    step = {"train.batch", "model.loops", "model.thinks", "model.cycles", "model.slots"}
    for keys, what, bytes_ in (
        (width | graph, f"a model of {parameters:,} parameters", 16.0 * parameters),
        (width | step, f"a step over {train.batch:,} examples in a depth of {model.depth:,}", 4.0 * activations),
        (graph, words, size),
    ):
        if bytes_ > MOST_BYTES:
            largest = max(sorted(keys), key=lambda key: _excess(config, key))
            cost = f"{bytes_ / 1e9:,.0f} GB of memory; at most {MOST_BYTES / 1e9:.0f} GB"
            yield Problem(largest, f"comes to {what}: {cost}")


FOR_EVERY_LOOP = {
    *("train.steps", "train.checkpoint_every"), *("eval.every", "eval.grid", "eval.per_decade", "eval.max_examples")
}  # fmt: skip
"""Options that mean the same whoever trains."""


def _unused(config: RunConfig, function: str) -> Iterator[Problem]:
    """Options of ours that were changed although a training function from outside does not read them."""
    word, uses = plugins.word_of(function), set(declared_by(function).uses)
    known = {f"{name}.{key}" for name, kind in SECTIONS.items() for key in fields_of(kind)}
    for name in sorted(uses - known):
        yield Problem("trainable", f"{word} uses {name}, which is no option; {did_you_mean(name, sorted(known))}")
    if config.eval.probes:
        yield Problem("eval.probes", f"look into models of ours; {word} measures by itself (run.measure)")
    for key in sorted(known - uses - FOR_EVERY_LOOP - {"eval.probes"}):
        section, _, name = key.partition(".")
        field = fields_of(SECTIONS[section])[name]
        if getattr(getattr(config, section), field.attribute) != field.default:
            yield Problem(key, f"means nothing for {word}, which does not name it in its uses; leave it out")
    yield from _lengths(config)


def _lengths(config: RunConfig) -> Iterator[Problem]:
    """More steps, evaluations or files than there can be."""
    train = config.train
    if train.steps >= MOST_STEPS:
        yield Problem("train.steps", f"{train.steps:,} is not possible; it must be less than {MOST_STEPS:,}")
        return
    evaluations = train.steps // config.eval.every if config.eval.grid == "linear" else 0
    if evaluations > MOST_EVALUATIONS:
        yield Problem("eval.every", f"comes to {evaluations:,} evaluations; at most {MOST_EVALUATIONS:,}")
    parts = train.steps // train.checkpoint_every
    if parts > MOST_FILES:
        yield Problem("train.checkpoint_every", f"comes to {parts:,} parts of each table; at most {MOST_FILES:,}")


def _excess(config: RunConfig, key: str) -> float:
    """By how much an option is above its default."""
    section, _, name = key.partition(".")
    options = getattr(config, section)
    return float(getattr(options, name)) / float(getattr(type(options), name) or 1)


def _cross_checks(config: RunConfig) -> Iterator[Problem]:
    from grokstudy.trainables.measurements import NEEDS, PROBES, needs

    model, train = config.model, config.train
    if config.trainable is not None:
        yield from _unused(config, config.trainable.function)
        return
    yield from _of_another_family(model)
    yield from _of_another_task(config)
    yield from _sizes(config)
    if model.family == "decoder" and model.heads > 0 and model.width % model.heads:
        yield Problem("model.heads", f"{model.heads} heads do not divide width {model.width}")
    for owner, names in OPTIMISER_OPTIONS.items():
        for name in names if config.optim.name != owner else ():
            if getattr(config.optim, name) != getattr(Optim, name):
                yield Problem(
                    f"optim.{name}", f"is for optim.name {owner}, and this is {config.optim.name}; leave it out"
                )
    if config.optim.schedule == "cosine" and config.optim.warmup >= config.offset + train.steps:
        yield Problem("optim.warmup", f"{config.optim.warmup} is not shorter than train.steps = {train.steps}")
    for probe in config.eval.probes:
        if probe not in PROBES:
            yield Problem("eval.probes", f"{probe!r} is unknown; {did_you_mean(probe, list(PROBES))}")
        elif (need := needs(probe)) is not None:
            serves = TASKS[config.task].probes
            if not serves or (probe in NEEDS and probe not in serves):
                yield Problem("eval.probes", f"{probe} needs {need}, which task {config.task} has not")
