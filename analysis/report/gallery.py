"""The gallery: studies of different tasks in one grammar, as a Markdown page with a picture for each.

For each family the page says whether the component comes before, with, after or without the behaviour, and whether
behaviour out of distribution follows: per setting with n, intervals and censoring, because settings are different
questions, and never pooled. Orders, classes and intervals are those of `analysis.answer`; a family that no root has is
a row that says so. The same tables give the same page.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grokstudy.analysis.answer import answer, verdicts
from grokstudy.analysis.answer_text import lead_cell, time_cell, wilson_of
from grokstudy.analysis.labels import Pair, labels, setting, steps_text
from grokstudy.analysis.statistics.decoupling import CLASSES, NO_VERDICT
from grokstudy.analysis.tables.families import FAMILIES, Family, Roles, in_common_words, roles_of
from grokstudy.analysis.tables.study import StudyTables, load
from grokstudy.trainables.messages import printable
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.storage.study_dir import study_names

WORDS = {
    "circuit_first": "before",
    "simultaneous": "with",
    "answer_first": "after",
    "fake": "without",
    "latent": "alone",
    "neither": "neither",
    "undecided": "undecided",
}
"""When the component comes, seen from the behaviour: the classes in the words of the question."""
MEANINGS = {
    "before": "the component comes first, by more than 0.1 decades of steps",
    "with": "both come within 0.1 decades of each other",
    "after": "the behaviour comes first, by more than 0.1 decades",
    "without": "the behaviour comes, the component is not seen",
    "alone": "the component comes, the behaviour is not seen",
    "neither": "neither is seen",
    "undecided": "the behaviour comes, and what was measured cannot tell whether the component did",
}
NOT_ASKED, NOT_MEASURED = "not asked", "not measured"
MIXED, NO_DATA = NO_VERDICT
PICTURES = "images/gallery"
"""Where pictures lie, from the page."""
PPI = 96


@dataclass(frozen=True)
class Setting:
    """One setting of a study: its row of the answer table, and that of both orders, where they are asked."""

    name: str
    row: Mapping[str, Any]
    order: Mapping[str, Any] | None
    order_ood: Mapping[str, Any] | None


@dataclass(frozen=True)
class Exhibit:
    """A study of the gallery in common words; without `tables` where no root has it."""

    study: str
    family: Family | None
    tables: StudyTables | None

    @property
    def title(self) -> str:
        """`S2 comparison`, or the name of a study that is no family's."""
        return f"{self.family.number} {self.family.title}" if self.family else self.study

    @property
    def roles(self) -> Roles:
        """Which events are what."""
        return roles_of(self.tables) if self.tables else Roles(None, None, None, None)

    def settings(self) -> list[Setting]:
        """Its settings in the order of the study."""
        if self.tables is None:
            return []
        answered = answer(self.tables)
        rows, names = answered.to_dicts(), labels(answered, self.tables.groups, setting)
        keys = [_key(row, self.tables.groups) for row in rows]
        orders = [self._orders(self.tables, pair, keys) for pair in (self.roles.pair, self.roles.pair_ood)]
        return [Setting(*parts) for parts in zip(names, rows, *orders, strict=True)]

    @staticmethod
    def _orders(
        tables: StudyTables, pair: Pair | None, keys: Sequence[tuple[Any, ...]]
    ) -> Sequence[Mapping[str, Any] | None]:
        """The order of each setting: None where it is not asked, without entries where nothing has ended."""
        if pair is None:
            return [None] * len(keys)
        rows_by_key = {_key(row, tables.groups): row for row in verdicts(tables, pair).to_dicts()}
        return [rows_by_key.get(key, {}) for key in keys]


def _key(row: Mapping[str, Any], groups: Sequence[str]) -> tuple[Any, ...]:
    return tuple(row[axis] for axis in groups)


@dataclass(frozen=True)
class Gallery:
    """What was written, what it says as plain values, and what was left out."""

    page: str
    pictures: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]
    warnings: tuple[str, ...]


def exhibits(roots: Sequence[str], studies: Sequence[str] = ()) -> list[Exhibit]:
    """These studies, or those of all families, from whichever root has them. Raises ValueError where two have one."""
    homes: dict[str, list[str]] = {}
    for root in dict.fromkeys(Store(root).uri for root in roots):
        for name in study_names(Store(root)):
            homes.setdefault(name, []).append(root)
    names = list(dict.fromkeys(studies or FAMILIES))
    unknown = [name for name in names if name not in homes and name not in FAMILIES]
    if unknown:
        raise ValueError(f"no root has a study {unknown[0]!r}; they have: {', '.join(sorted(homes)) or 'none'}")
    for name in names:
        if len(homes.get(name, ())) > 1:
            raise ValueError(f"{name} is in {' and in '.join(homes[name])}; name one of these roots")
    return [
        Exhibit(name, FAMILIES.get(name), in_common_words(load(homes[name][0], name)) if name in homes else None)
        for name in names
    ]


def write_gallery(roots: Sequence[str], out: Path, studies: Sequence[str] = ()) -> Gallery:
    """Write the page and its pictures, which lie beside it. Raises ValueError or FileNotFoundError for bad roots."""
    from grokstudy.analysis.figures.gallery import together
    from grokstudy.analysis.report.images import small_png

    shown = exhibits(roots, studies)
    settings = [exhibit.settings() for exhibit in shown]
    folder, pictures = out.parent / PICTURES, {}
    for exhibit in shown:
        figure = together(exhibit.tables) if exhibit.tables else None
        if figure is not None:
            pictures[exhibit.study] = folder / f"{exhibit.study}.png"
            folder.mkdir(parents=True, exist_ok=True)
            pictures[exhibit.study].write_bytes(small_png(figure, PPI))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(printable(_page(shown, settings, pictures, out)), encoding="utf-8")
    rows = tuple(row for exhibit, own in zip(shown, settings, strict=True) for row in plain_rows(exhibit, own))
    warnings = tuple(line for exhibit in shown if exhibit.tables for line in exhibit.tables.warnings)
    return Gallery(str(out), tuple(map(str, pictures.values())), rows, warnings)


def plain_rows(exhibit: Exhibit, settings: Sequence[Setting]) -> Iterator[dict[str, Any]]:
    """A row per setting: numbers under the same names for every family; null for what is not known."""
    about = {"study": exhibit.study, "family": exhibit.family.number if exhibit.family else None}
    for own in settings or [Setting("", {}, None, None)]:
        row: dict[str, Any] = {**about, "setting": own.name if settings else None, "runs": own.row.get("seeds")}
        row |= {name: own.row.get(name) for name in ("unfinished", "diverged", "length")}
        for role, event in vars(exhibit.roles).items():
            row[f"{role}_event"] = event
            row |= {f"{role}_{part}": own.row.get(f"{event}_{part}") for part in _TIMES}
        for name, order in (("order", own.order or {}), ("order_ood", own.order_ood or {})):
            verdict = order.get("verdict")
            row[name] = WORDS.get(str(verdict), verdict)
            row |= {f"{name}_{part}": order.get(part) for part in (*CLASSES, *_LEAD)}
        yield row


_TIMES = ("observed", "censored", "at", "at_first", "at_last", "at_beyond")
_LEAD = ("lead", "lead_low", "lead_high", "lead_first", "lead_last", "lead_coverage")


def _page(
    shown: Sequence[Exhibit], settings: Sequence[Sequence[Setting]], pictures: Mapping[str, Path], out: Path
) -> str:
    both = list(zip(shown, settings, strict=True))
    overview = [_overview(exhibit, own) for exhibit, own in both]
    every = [line for exhibit, own in both for line in _setting_rows(exhibit, own)]
    parts = [
        INTRODUCTION,
        "## Which comes first?\n\n" + OVERVIEW,
        _table(overview),
        "### Setting by setting\n\n" + READING,
        _table(every) if every else "No study was found.",
        "\n".join(f"- *{word}*: {meaning}." for word, meaning in MEANINGS.items()),
        "## Family by family\n\n" + PICTURE,
    ]
    parts += [_section(exhibit, pictures.get(exhibit.study), out) for exhibit in shown]
    return "\n\n".join(parts) + "\n"


INTRODUCTION = """\
# Gallery: does the component come before the behaviour?

Studies of different tasks in one grammar: the component that is thought to produce an answer, the behaviour in
distribution, and the behaviour out of distribution. What these are in each study is said below its picture.
`grokstudy gallery ROOT...` writes this page from the roots of the studies, `make gallery` trains what is missing first;
do not edit it."""
OVERVIEW = """\
A row per family, which counts settings and not runs: different settings are different questions. The word is the class
of more than half of a setting's runs, else *mixed*; what the words mean stands below the next table."""
READING = """\
Events: runs that came to it, of all (95 % interval after Wilson), and when: steps, median (range); `>N` was not seen
within N steps. The lead is log10 of the behaviour's time over the component's, in decades, positive where the component
is first: median and sign interval over seeds with the coverage that n runs allow; `>` and `<` are bounds that censored
runs leave. A class depends on both thresholds and on how long was trained."""
PICTURE = """\
Across: training steps, on a log scale. Up: the measures that the events look at, from 0 to 1; what is beyond is drawn
at the edge, and errors fall. Thin lines are runs, thick ones their median over a setting, drawn slightly apart so that
none hides another. A filled dot is an event at its threshold, a hollow diamond the end of a run that was followed to
there without it. Above each panel: how many runs came to each event, in the order of the colours."""


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    """Rows of the same headings as Markdown."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    cells = ([" ".join(text.replace("|", "\\|").split()) for text in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _overview(exhibit: Exhibit, settings: Sequence[Setting]) -> dict[str, str]:
    if exhibit.tables is None:
        absent = "not run: no root has it"
        texts = (absent, "–", "–", "–")
    else:
        seeds = sum(own.row["seeds"] for own in settings)
        left = sum(own.row["unfinished"] for own in settings)
        runs = f"{seeds} in {len(settings)}" + (f"; {left} not ended" if left else "")
        ood = exhibit.roles.ood
        orders = (_verdicts([own.order for own in settings]), _verdicts([own.order_ood for own in settings]))
        texts = (runs, orders[0], _mostly(settings, ood), orders[1])
    names = (
        "runs in settings", "the component comes ... the behaviour", "behaviour out of distribution",
        "the component comes ... that behaviour",
    )  # fmt: skip
    return {"family": exhibit.title, "study": f"`{exhibit.study}`", **dict(zip(names, texts, strict=True))}


def _verdicts(orders: Sequence[Mapping[str, Any] | None]) -> str:
    """Of how many settings each class is: `before in 2, without in 1 of 3`."""
    known = [order.get("verdict", NO_DATA) for order in orders if order is not None]
    if not known:
        return NOT_ASKED
    if {*known} == {NO_DATA}:
        return NOT_MEASURED
    counts = Counter(WORDS.get(verdict, NOT_MEASURED if verdict == NO_DATA else verdict) for verdict in known)
    ranked = [word for word in (*WORDS.values(), MIXED, NOT_MEASURED) if counts[word]]
    return f"{', '.join(f'{word} in {counts[word]}' for word in ranked)} of {len(known)}"


def _mostly(settings: Sequence[Setting], event: str | None) -> str:
    """In how many settings most runs came to an event, and how long the others were followed."""
    if event is None:
        return NOT_ASKED
    counts = [(own.row[f"{event}_observed"] or 0, own.row[f"{event}_censored"] or 0) for own in settings]
    measured = [(came, missed) for came, missed in counts if came + missed]
    if not measured:
        return NOT_MEASURED
    mostly = sum(came > missed for came, missed in measured)
    if mostly == len(measured):
        return f"in most runs of {mostly} of {len(measured)}"
    short = [own.row[f"{event}_at_beyond"] for own, (came, n) in zip(settings, counts, strict=True) if n and came <= n]
    lengths = [steps_text(length) for length in sorted(short)]
    within = " to ".join(dict.fromkeys((lengths[0], lengths[-1])))
    return f"in most runs of {mostly} of {len(measured)}; in the others not within {within} steps"


def _setting_rows(exhibit: Exhibit, settings: Sequence[Setting]) -> Iterator[dict[str, str]]:
    roles = exhibit.roles
    for own in settings:
        left = f" ({own.row['unfinished']} not ended)" if own.row["unfinished"] else ""
        yield {
            "family": exhibit.title,
            "setting": own.name,
            "n": f"{own.row['seeds']}{left}",
            "component": _event(own.row, roles.component),
            "behaviour": _event(own.row, roles.behaviour),
            "the component comes": _order(own.order),
            "lead": _lead(own.order),
            "out of distribution": _event(own.row, roles.ood),
            "the component there comes": _order(own.order_ood),
            "lead there": _lead(own.order_ood),
        }
    if not settings:
        reason = "not run: no root has it" if exhibit.tables is None else "no run was asked for"
        yield {"family": exhibit.title, "setting": reason, **dict.fromkeys(_EMPTY, "–")}


_EMPTY = (
    "n", "component", "behaviour", "the component comes", "lead", "out of distribution", "the component there comes",
    "lead there",
)  # fmt: skip


def _event(row: Mapping[str, Any], event: str | None) -> str:
    """How many came to it, with the interval, and when: `2/3 (0.21–0.94), 1372 (1245–>3000)`."""
    if event is None:
        return NOT_ASKED
    came = row[f"{event}_observed"] or 0
    n = came + (row[f"{event}_censored"] or 0)
    return f"{_share(came, n)}, {time_cell(row, event)}" if n else NOT_MEASURED


def _share(count: int, n: int) -> str:
    low, high = wilson_of(count, n)
    return f"{count}/{n} ({low:.2f}–{high:.2f})"


def _order(order: Mapping[str, Any] | None) -> str:
    """The classes of a setting's runs, each with its share's interval."""
    if order is None:
        return NOT_ASKED
    counts = {word: order[name] for name, word in WORDS.items() if order.get(name)}
    n = sum(counts.values())
    open_ = f"; {order['unknown']} without a class" if n and order["unknown"] else ""
    return (", ".join(f"{word} {_share(count, n)}" for word, count in counts.items()) or NOT_MEASURED) + open_


def _lead(order: Mapping[str, Any] | None) -> str:
    """The median lead and its interval: `+0.30 (+0.12 to +0.40; 94 %)`."""
    if not order:
        return "–"
    low, high = order["lead_first"], order["lead_last"]
    ends = f"{low:+.2f} to {high:+.2f}" if None not in (low, high) else ""
    ends = ends or " ".join(f"{sign}{end:+.2f}" for sign, end in ((">", low), ("<", high)) if end is not None)
    covered = f" ({ends}; {100 * order['lead_coverage']:.0f} %)" if ends and order["lead_coverage"] else ""
    return f"{lead_cell(order)}{covered}".strip() or "–"


def _section(exhibit: Exhibit, picture: Path | None, out: Path) -> str:
    """What a family asks, its picture, and what its events are."""
    source = f" (arXiv {exhibit.family.paper})" if exhibit.family else ""
    lines = [f"### {exhibit.title}{source}"]
    if exhibit.tables is None:
        lines.append(f"Not run: no root has a study `{exhibit.study}`.")
        return "\n\n".join(lines)
    page = out.parent / "results" / f"{exhibit.study}.md"
    link = f" [What came out](results/{exhibit.study}.md)." if page.is_file() else ""
    about = " ".join(str(exhibit.tables.spec.get("hypothesis") or "").split())
    lines.append(f"Study `{exhibit.study}`. {about}{link}".strip())
    if picture is None:
        lines.append("Nothing was measured yet.")
    else:
        lines.append(f"![{exhibit.title}: component and behaviour over training]({PICTURES}/{picture.name})")
    lines.append("\n".join(_definitions(exhibit)))
    return "\n\n".join(lines)


def _definitions(exhibit: Exhibit) -> Iterator[str]:
    assert exhibit.tables is not None, "a family without a study has no events"
    roles, declared = exhibit.roles, exhibit.tables.declared
    beside = roles.component_ood if roles.component_ood != roles.component and roles.ood else None
    words = {"component": roles.component, "behaviour": roles.behaviour, "out of distribution": roles.ood}
    for word, event in {**words, "component there": beside}.items():
        if event is not None:
            yield f"- {word}: {declared[event]} (`{event}`)"
        elif word != "component there":
            yield f"- {word}: {NOT_ASKED} by this study"
