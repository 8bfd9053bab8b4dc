"""Copying and retrieval at lengths beyond those trained: which of ten tasks generalise (arXiv 2505.21785).

    <bos> x_1 ... x_n <sep> q            then one symbol: a neighbour of q in the context
    <bos> x_1 ... x_n <sep> y_1 ... y_n  then <eos>: the context again, forward or backward; every y and <eos> is asked

The neighbour is the one on the left or on the right of the query's only occurrence (`UL`, `UR`), of its first
(`NLFirst`, `NRFirst`) or of its last (`NLLast`, `NRLast`; `NRLast` is the flip-flop language). Copies are forward or
backward of symbols that are all distinct (`UF`, `UB`) or not (`NF`, `NB`). Theory (section 3 there): UL, UR, NLFirst,
NRFirst, UF and UB have programs of the class C-RASP[pos] and generalise in length; NLLast, NRLast, NF and NB have none.

Lengths n are uniform in a range; evaluation splits are the range itself, and what is two and three times as long.
With few symbols the last occurrence is a near one, at any length: `far` has every occurrence of the query in the first
half of contexts that are longer than trained ones, as the paper does for its fine-tuned models.

The released generator draws again until a query fits. Here contexts are built: places for the query are drawn first,
one or two of them, and what would put it where it must not be is replaced by another symbol; queries are uniform. Its
mistake is not repeated: for NLFirst with the first occurrence at the beginning, which has no left neighbour, it answers
with the last symbol of the context; here the query is never the first symbol.

Axes: M member, B example, N symbol of a context, T place, A answer; 1 stands for B where all examples have one value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from grokstudy.trainables.events import Event
from grokstudy.trainables.options import Problem, option
from grokstudy.trainables.tasks.base import Batch, Fresh, Mechanism, Shape

if TYPE_CHECKING:
    from torch import Tensor

COPYING = ("UF", "UB", "NF", "NB")
EOS, BOS, SEP, PAD, SPECIAL = range(5)
"""Tokens behind those of the vocabulary, and how many they are."""
NOWHERE = -1
"""A place that no example has."""
TIMES = {None: 1, "x1": 1, "x2": 2, "x3": 3}
"""How many times as long as the longest trained context those of a split are at most."""


@dataclass(frozen=True, kw_only=True)
class CopyOptions:
    """Which of the ten tasks, and how long its contexts are."""

    kind: Literal["UL", "UR", "NLFirst", "NRFirst", "NLLast", "NRLast", "UF", "UB", "NF", "NB"] = option(
        "UR", "left or right neighbour of the only, first or last occurrence; copy forward or backward"
    )
    vocabulary: int = option(16, "different symbols; copies of distinct ones need three times the longest", ge=2)
    shortest: int = option(4, "symbols of the shortest context", ge=1)
    longest: int = option(8, "symbols of the longest trained context", ge=1)
    far: bool = option(True, "retrieval: all occurrences of the query are in the first half of the longer contexts")
    per: Literal["answer", "example"] = option(
        "answer", "copying: every answer of a batch weighs the same, or every example"
    )

    @property
    def copies(self) -> bool:
        """Whether it is a copy that is asked for, not a neighbour."""
        return self.kind in COPYING

    @property
    def unique(self) -> bool:
        """Whether symbols are distinct, or the query occurs once."""
        return self.kind.startswith("U")

    @property
    def begin(self) -> int:
        """The first symbol that can be the query: the second where the first would have no neighbour to answer."""
        return int(self.kind in ("UL", "NLFirst"))

    @property
    def behind(self) -> int:
        """Symbols at the end that cannot be the query."""
        return int(self.kind in ("UR", "NRLast"))

    def problems(self) -> list[Problem]:
        """Lengths and vocabularies that leave no room for what is asked."""
        return list(self._copy_problems() if self.copies else self._retrieval_problems())

    def _copy_problems(self) -> Iterator[Problem]:
        yield from self._range_problem(1)
        needed = TIMES["x3"] * self.longest
        if self.unique and self.vocabulary < needed:
            message = f"{self.vocabulary} symbols are too few: {needed} distinct ones are copied in split x3"
            yield Problem("data.vocabulary", f"{message} (three times data.longest)")
        if not self.far:
            yield Problem("data.far", f"means nothing for data.kind {self.kind}, which has no query; leave it out")

    def _retrieval_problems(self) -> Iterator[Problem]:
        occurrences = 1 if self.unique else 2
        yield from self._range_problem(occurrences + max(self.begin, self.behind))
        room = (self.longest + 1) // 2 - self.begin
        if self.far and room < occurrences:
            least = 2 * (occurrences + self.begin) - 1
            message = (
                f"{self.longest} is too short for data.far with data.kind {self.kind}; it must be at least {least}"
            )
            yield Problem("data.longest", message)
        if self.per != "answer":
            yield Problem("data.per", f"means nothing for data.kind {self.kind}, which has one answer; leave it out")

    def _range_problem(self, least: int) -> Iterator[Problem]:
        if self.shortest < least:
            message = f"{self.shortest} is too short for data.kind {self.kind}; it must be at least {least}"
            yield Problem("data.shortest", message)
        if self.longest < self.shortest:
            yield Problem("data.longest", f"{self.longest} is less than data.shortest = {self.shortest}")


class CopyRetrieve(Fresh):
    """The task `copy_retrieve`."""

    Options = CopyOptions
    splits: ClassVar[dict[str, str]] = {
        "x1": "new contexts of the trained lengths",
        "x2": "contexts longer than trained ones, up to twice the longest",
        "x3": "contexts longer than that, up to three times the longest trained one",
    }
    headline = "x2"
    metrics: ClassVar[dict[str, str]] = {
        "each": "share of an example's answers that are right, the true ones before them given",
        "exact": "share of examples all of whose answers are right when the model's own are fed back",
    }
    looks: ClassVar[dict[str, str]] = {
        "answer": "the place of the context that holds the answer, which for copies is told by its number",
        "same": "the place of the context that holds the token where the answer is read: the query, or the last copied",
        "before": "the place before the one where the answer is read",
    }
    events: ClassVar[dict[str, Event]] = {
        "circuit": Event(metric="mass_answer", split=("x1",), at_least=0.5),
        "generalised_ii": Event(metric="accuracy", split=("x1",), at_least=0.9),
        "generalised": Event(metric="accuracy", split=("x2",), at_least=0.9),
    }
    """`circuit`: some head looks where the answer is. `memorised`: answered at the trained lengths, of contexts never
    seen before; `generalised`: at longer ones. Which comes first is the question."""
    default_probes = ("attention_mass",)
    generates = True

    @staticmethod
    def shape(options: CopyOptions) -> Shape:
        """Tokens; one answer, or one for each symbol and the end."""
        tokens = options.vocabulary + SPECIAL
        shape = Shape(length=_places(options, options.longest), fields=(tokens,), classes=tokens)
        return replace(
            shape, places=_places(options, TIMES["x3"] * options.longest),
            answers=options.longest + 1 if options.copies else 1,
            candidates=(0, options.vocabulary + options.copies),
        )  # fmt: skip

    @classmethod
    def values(cls, options: Sequence[CopyOptions], seeds: Sequence[int]) -> dict[str, NDArray[Any]]:
        """What the kinds come to, and the shortest length: columns (M, 1)."""

        def column(values: list[Any]) -> NDArray[Any]:
            return np.array(values)[:, None]

        return {
            "shortest": column([o.shortest for o in options]),
            "unique": column([o.unique for o in options]),
            "left": column([o.kind[1] == "L" for o in options]),
            "last": column([o.kind.endswith("Last") for o in options]),
            "begin": column([o.begin for o in options]),
            "behind": column([o.behind for o in options]),
            "far": column([o.far for o in options]),
            "backward": column([o.kind[1] == "B" for o in options]),
            "per_example": column([o.per == "example" for o in options]),
        }

    @classmethod
    def draw(cls, options: CopyOptions, values: Mapping[str, Tensor], split: str | None, word_MB: Tensor) -> Batch:
        """Contexts of these words, and what is asked of them."""
        from grokstudy.trainables.words import choice, fresh

        times = TIMES[split]
        most = times * options.longest
        least_M1 = values["shortest"] if times == 1 else (times - 1) * options.longest + 1
        n_MB = least_M1 + choice(fresh(word_MB, 1), most - least_M1 + 1)
        builder = _copies if options.copies else _retrieval
        return builder(options, values, split, word_MB, n_MB)

    @staticmethod
    def scores(output_MSAx: Tensor, rows: Batch) -> dict[str, Tensor]:
        """Of an example's answers, how many are right."""
        # Answers are among the symbols, and the end where there are several answers.
        candidates = output_MSAx.shape[3] - SPECIAL + (output_MSAx.shape[2] > 1)
        prediction_MSA = output_MSAx[..., :candidates].argmax(dim=-1)
        right_MSA = (prediction_MSA == rows.target_MBAx).float()
        if rows.weight_MBA is None:
            return {"each": right_MSA.mean(dim=2)}
        mask_MSA = (rows.weight_MBA > 0).float()
        return {"each": (right_MSA * mask_MSA).sum(dim=2) / mask_MSA.sum(dim=2)}

    @staticmethod
    def feed(rows: Batch, answer: int, output_MSx: Tensor) -> Batch:
        """The answer as the token behind the place where it was read, if another answer follows."""
        if rows.weight_MBA is None or answer + 1 == rows.at_MBA.shape[2]:
            return rows
        at_MS = rows.at_MBA[:, :, answer + 1]
        follows_MS = rows.weight_MBA[:, :, answer + 1] > 0
        own_MS = rows.inputs_MBx.gather(2, at_MS[..., None])[..., 0]
        token_MS = output_MSx.where(follows_MS, own_MS)
        return replace(rows, inputs_MBx=rows.inputs_MBx.scatter(2, at_MS[..., None], token_MS[..., None]))


def _places(options: CopyOptions, symbols: int) -> int:
    """Places of an example with so many symbols."""
    return 2 * symbols + 2 if options.copies else symbols + 3


def _retrieval(
    options: CopyOptions, values: Mapping[str, Tensor], split: str | None, word_MB: Tensor, n_MB: Tensor
) -> Batch:
    """A neighbour of the query: one answer, read at the last token."""
    import torch

    from grokstudy.trainables.words import choice, fresh, several

    vocabulary, most = options.vocabulary, TIMES[split] * options.longest
    unique, begin = values["unique"], values["begin"]
    end_MB = n_MB - values["behind"]
    if TIMES[split] > 1:
        end_MB = torch.where(values["far"], n_MB // 2, end_MB)
    room_MB = end_MB - begin
    query_MB = choice(fresh(word_MB, 2), vocabulary)
    one_MB = choice(fresh(word_MB, 3), room_MB)
    two_MB = (one_MB + 1 + choice(fresh(word_MB, 4), room_MB - 1)) % room_MB
    two_MB = torch.where(unique, one_MB, two_MB)

    number = torch.arange(most, device=word_MB.device)
    drawn_MBN = choice(several(word_MB, 5, most), vocabulary)
    other_MBN = (query_MB[..., None] + 1 + choice(several(word_MB, 5 + most, most), vocabulary - 1)) % vocabulary
    allowed_MBN = (number >= begin[..., None]) & (number < end_MB[..., None]) & ~unique[..., None]
    symbol_MBN = torch.where((drawn_MBN == query_MB[..., None]) & ~allowed_MBN, other_MBN, drawn_MBN)
    forced_MBN = (number == (one_MB + begin)[..., None]) | (number == (two_MB + begin)[..., None])
    symbol_MBN = torch.where(forced_MBN, query_MB[..., None], symbol_MBN)

    match_MBN = symbol_MBN == query_MB[..., None]
    first_MB = number.where(match_MBN, most).amin(dim=-1)
    last_MB = number.where(match_MBN, -1).amax(dim=-1)
    same_MB = torch.where(values["last"], last_MB, first_MB)
    holder_MB = same_MB + 1 - 2 * values["left"].long()
    target_MBA = symbol_MBN.gather(-1, holder_MB[..., None])

    at_MBA = (n_MB + 2)[..., None]
    tokens_MBT = _begun(options, symbol_MBN, n_MB, _places(options, most))
    place = torch.arange(tokens_MBT.shape[2], device=word_MB.device)
    tokens_MBT = torch.where(place == at_MBA, query_MB[..., None], tokens_MBT)
    if split is None:
        return Batch(tokens_MBT, at_MBA, target_MBA)
    look = _looks(holder_MB[..., None] + 1, same_MB[..., None] + 1, at_MBA, place)
    return Batch(tokens_MBT, at_MBA, target_MBA, None, look)


def _copies(
    options: CopyOptions, values: Mapping[str, Tensor], split: str | None, word_MB: Tensor, n_MB: Tensor
) -> Batch:
    """The context again: as many answers as symbols, each read where the one before is told, and the end."""
    import torch
    import torch.nn.functional as F

    from grokstudy.trainables.words import choice, permutation, several

    vocabulary, most = options.vocabulary, TIMES[split] * options.longest
    symbol_MBN = choice(several(word_MB, 2, most), vocabulary)
    if vocabulary >= most:  # in a pack with fewer symbols, those of no member are distinct
        distinct_MBN = permutation(word_MB, 2 + most, vocabulary)[..., :most]
        symbol_MBN = torch.where(values["unique"][..., None], distinct_MBN, symbol_MBN)

    n_MB1 = n_MB[..., None]
    number = torch.arange(most + 1, device=word_MB.device)
    source_MBA = torch.where(values["backward"][..., None], n_MB1 - 1 - number, number).clamp(0, most - 1)
    copy_MBA = symbol_MBN.gather(-1, source_MBA)
    symbol_MBA = copy_MBA.where(number < n_MB1, vocabulary + EOS)
    mask_MBA = number <= n_MB1
    at_MBA = n_MB1 + 1 + torch.minimum(number, n_MB1)

    tokens_MBT = _begun(options, symbol_MBN, n_MB, _places(options, most))
    place = torch.arange(tokens_MBT.shape[2], device=word_MB.device)
    index_MBT = place - n_MB1 - 2
    copy_MBT = copy_MBA.gather(-1, index_MBT.clamp(0, most))
    tokens_MBT = torch.where((index_MBT >= 0) & (index_MBT < n_MB1), copy_MBT, tokens_MBT)

    size_MB1 = torch.where(values["per_example"][..., None], n_MB1 + 1, 1)
    weight_MBA = mask_MBA / size_MB1
    if split is None:
        return Batch(tokens_MBT, at_MBA, symbol_MBA, weight_MBA)
    holder_MBA = (source_MBA + 1).where(number < n_MB1, NOWHERE)
    same_MBA = F.pad(holder_MBA[..., :-1], (1, 0), value=NOWHERE).where(number < n_MB1, NOWHERE)
    return Batch(tokens_MBT, at_MBA, symbol_MBA, weight_MBA, _looks(holder_MBA, same_MBA, at_MBA, place))


def _begun(options: CopyOptions, symbol_MBN: Tensor, n_MB: Tensor, places: int) -> Tensor:
    """Tokens (M, B, T) of beginning, context and separator, padding behind it."""
    import torch
    import torch.nn.functional as F

    vocabulary = options.vocabulary
    place = torch.arange(places, device=n_MB.device)
    tokens_MBT = F.pad(symbol_MBN, (1, places - 1 - symbol_MBN.shape[2]))
    tokens_MBT = tokens_MBT.where(place <= n_MB[..., None], vocabulary + PAD)
    tokens_MBT = tokens_MBT.where(place != n_MB[..., None] + 1, vocabulary + SEP)
    return tokens_MBT.where(place > 0, vocabulary + BOS)


def _looks(holder_MBA: Tensor, same_MBA: Tensor, at_MBA: Tensor, place: Tensor) -> Mechanism:
    """The places (M, B, A, T) of `CopyRetrieve.looks`, for the answers that a place of the context holds."""
    before_MBA = (at_MBA - 1).where(holder_MBA != NOWHERE, NOWHERE)
    wanted = {"answer": holder_MBA, "same": same_MBA, "before": before_MBA}
    return Mechanism(look={name: place == wanted_MBA[..., None] for name, wanted_MBA in wanted.items()})
