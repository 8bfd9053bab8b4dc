"""Reads triples (head, relation, tail) from a local file, as 2WikiMultiHopQA is published (arXiv 2011.01060).

Its files are a JSON list of questions; `evidences` of each is a list of [subject, relation, object]. A run needs the
triples alone: they are what is kept, and what the digest of a name is over. A JSON list of triples is read as well, so
that what was kept can be read again.
"""

from __future__ import annotations

import json
from typing import Any

from grokstudy.trainables.messages import shown
from grokstudy.trainables.options import DataFile

PARTS = 3


def distilled(content: bytes) -> str:
    """The triples of a file as JSON, sorted, one a line. Of a head and a relation only the first is kept.

    Raises ValueError that says what was found instead.
    """
    try:
        records = json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8; unpack the archive first") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"is no JSON: line {error.lineno}, column {error.colno}: {error.msg}") from None
    if not isinstance(records, list):
        raise ValueError(f"holds {type(records).__name__}, and should hold a list of questions, or of triples")
    tails: dict[tuple[str, str], str] = {}
    for number, record in enumerate(records, 1):
        for head, relation, tail in _evidences(record, number):
            tails.setdefault((head, relation), tail)
    if not tails:
        raise ValueError("holds no triple")
    lines = sorted(json.dumps([*key, tail], ensure_ascii=False) for key, tail in tails.items())
    return "[\n" + ",\n".join(lines) + "\n]\n"


def _evidences(record: Any, number: int) -> list[list[str]]:
    """The triples of one record: of a question, or one that stands for itself."""
    if isinstance(record, list):
        evidences: Any = [record]
    elif isinstance(record, dict) and record.get("evidences"):
        evidences = record["evidences"]
    else:
        remedy = "the test file has none: take train.json or dev.json"
        raise ValueError(f"record {number} has no evidences ({remedy})")
    for triple in evidences if isinstance(evidences, list) else [evidences]:
        is_triple = isinstance(triple, list) and len(triple) == PARTS and all(isinstance(word, str) for word in triple)
        if not is_triple:
            raise ValueError(f"record {number}: {shown(triple)} is no triple [head, relation, tail]")
    return [[word.strip() for word in triple] for triple in evidences]


TRIPLES = DataFile(
    distilled,
    "nothing is downloaded. To get 2WikiMultiHopQA: open https://github.com/Alab-NII/2wikimultihop, take data.zip from "
    '"Dataset Contents", unpack it, and put dev.json (or train.json) beside the study; docs/own-code.md says more',
)
"""What the option `triples` is."""
