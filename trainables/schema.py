"""The tables: every column with its type, unit and meaning. Light on purpose: the analysis imports it too.

Writer: `trainables/storage/records.py` (`trials`: `orchestrator/runs/study_dir.py`). The run is the partition:
`<root>/metrics/<table>/run_id=<id>/part-<first step>.parquet`, so `run_id` is read from the path.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """One column: `kind` is a pyarrow type name, `unit` may be empty."""

    name: str
    kind: str
    meaning: str
    unit: str = ""
    nullable: bool = False


STEP_COLUMNS = (
    Column("step", "int64", "updates made before this one; the row describes update number step + 1", "steps"),
    Column("attempt", "int16", "which start of the run wrote the row"),
    Column("loss", "float32", "training loss of the batch, before the update", "nats"),
    Column("grad_norm", "float32", "Euclidean norm of the gradient, before clipping"),
    Column("weight_norm", "float32", "Euclidean norm of all parameters, before the update"),
    Column("lr", "float32", "learning rate of the update"),
)

EVAL_COLUMNS = (
    Column("step", "int64", "updates made before the evaluation", "steps"),
    Column("attempt", "int16", "which start of the run wrote the row"),
    Column("split", "string", "evaluation set of the task"),
    Column("n", "int32", "examples in the split; null where a publication does not say", "examples", nullable=True),
    Column("accuracy", "float32", "share whose answers are all the arg max over what the task has as answers"),
    Column(
        "loss",
        "float32",
        "mean cross-entropy of the answers over all classes, or half their squared error",
        "nats",
        nullable=True,
    ),
    Column(
        "margin",
        "float32",
        "mean logit of the answer minus the largest other; null where outputs are real",
        "logits",
        nullable=True,
    ),
)

PROBE_COLUMNS = (
    Column("step", "int64", "updates made before the measurement", "steps"),
    Column("attempt", "int16", "which start of the run wrote the row"),
    Column("probe", "string", "name of the measurement"),
    Column("split", "string", "evaluation set of the task"),
    Column("layer", "int16", "effective depth: 0 embedding, k after k blocks or updates; null: summary", nullable=True),
    Column(
        "position", "string", "position that has a name in the task or family, or a head; null: summary", nullable=True
    ),
    Column("value", "float32", "the measurement; null where it is not defined", nullable=True),
    Column("n", "int32", "examples measured; null where a publication does not say", "examples", nullable=True),
)

METRICS = tuple(column.name for column in EVAL_COLUMNS if column.kind == "float32")
"""Metrics of the table `evals`: accuracy, loss, margin. Any other metric is the name of a probe's measurement."""

TABLES = {"steps": STEP_COLUMNS, "evals": EVAL_COLUMNS, "probes": PROBE_COLUMNS}

TRIAL_COLUMNS = (
    Column("trial_id", "string", "study, number and seed of the trial"),
    Column("run_id", "string", "the run that serves it; null where it has no start", nullable=True),
    Column("horizon", "int64", "training length asked for", "steps"),
    Column("seed", "int64", "seed of data, initialisation and batch order; where they are crossed, of the combination"),
    Column("state", "string", "done, diverged, stopped, failed, interrupted, missing; no run: waiting, no_start"),
)
"""Every swept parameter follows as a column of its own, under its dotted name. Where trials start from other runs there
are `start.from`, `start.run_id`, `start.step` and `start.note`, too; where seeds are crossed, SEED_PARTS."""
SEEDS = ("seed", "init_seed", "order_seed")
"""Keys of a configuration: the seed of all that is drawn by chance, and of what may have a seed of its own."""
SEED_PARTS = ("seed.graph", "seed.init", "seed.order")
"""The seeds that a combination is made of."""

TRANSPLANT_COLUMNS = (
    Column("run_id", "string", "the run whose checkpoints they are"),
    Column("stage", "string", "what the early checkpoint is: memorised or generalised"),
    Column("early", "int64", "updates made before the early checkpoint", "steps"),
    Column("late", "int64", "updates made before the late one", "steps"),
    Column("donor", "string", "whose state at r1 is written: early, late, untrained"),
    Column("receiver", "string", "into whose run of the context: early, late"),
    Column("split", "string", "evaluation set of the queries"),
    Column("layer", "int16", "effective depth; null: summary at the late checkpoint's l*", nullable=True),
    Column("value", "float32", "share of queries whose answer the receiver says; null: not defined", nullable=True),
    Column("n", "int32", "queries", "queries"),
)
"""Transplants between checkpoints of one run: `studies/<name>/transplants.parquet`."""

RESERVED = {
    *(column.name for columns in (*TABLES.values(), TRIAL_COLUMNS) for column in columns),
    *("group", "regime", "event", "metric", "time", "lower", "upper", "lead", "kind", "verdict", "seeds", "length"),
    *("count", "share", "low", "high", "unknown", "tile", "begin", "end", "centre", "x", "y", "panel"),
    *(
        "after",
        "against",
        "at",
        "at_risk",
        "before",
        "column",
        "consecutive",
        "difference",
        "diverged",
        "duration",
        "final",
    ),
    *("final_max", "final_min", "first", "first_step", "first_value", "followed", "followed_to", "formed", "happened"),
    *("hazard_ratio", "heading", "hit", "key", "last", "last_step", "last_value", "lead_high", "lead_low", "lead_n"),
    *("limit", "line", "lost_later", "lower_value", "median", "n_censored", "name", "no_start", "observed", "of"),
    *("offset", "over", "p", "p_holm", "paired", "pairs", "reason", "run", "runs", "side", "stable", "start"),
    *("statistic", "stop", "stopped", "stratum", "survival", "tau", "threshold", "trial_state", "trials", "unfinished"),
    *("upper_value", "words"),
    *("answer", "circuit", "study", "trial_horizon", "comparison", "late", "measure", "pair", "permuted", "r", "stage"),
    *("circuit_first", "simultaneous", "answer_first", "fake", "latent", "neither", "undecided", "above", "below"),
    *("order", "order_absolute", "order_absolute_low", "order_absolute_high", "scale", "coverage", "error", "ceiling"),
    *("order_of_ceiling", "order_of_ceiling_low", "order_of_ceiling_high", "held", "slope", "chosen", "summary"),
    *("test", "p_least", "p_error", "p_unclustered", "spread", "unseen", "detectable", "both", "mark", "beside"),
    "first_n",
    *("outcome", "largest_chance", "chance", "scheduler", "setting", "role", "task", "question", "axis", "shown"),
    *("coordinate", "height", "place", "reached", "told", "ended", "graphs", "came", "part", "graph", "init", "spread"),
}
"""Names that an axis of a study cannot have: the analysis gives them to columns of its own. Nor can it begin with the
name of an event and `_`: `circuit_at`, `circuit_final` are columns of the answer."""
