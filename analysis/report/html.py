"""Parts of self-contained HTML pages: tables, figures, and the charting library, inlined once."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from grokstudy.analysis.report.page_style import SCRIPT, STYLE
from grokstudy.trainables.messages import printable

if TYPE_CHECKING:
    from grokstudy.analysis.figures.theme import Figure


def document(title: str, parts: Iterable[str], figures: Sequence[Figure]) -> str:
    """A whole page that fetches nothing."""
    head = (
        "<meta charset=utf-8><meta name=viewport content='width=device-width,initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{STYLE}</style>"
    )
    scripts = _scripts(figures) if figures else ""
    body = "\n".join(parts)
    return f"<!doctype html>\n<html lang=en><head>{head}</head><body><main>\n{body}\n</main>{scripts}</body></html>\n"


def escape(value: Any) -> str:
    """Text as HTML."""
    return html.escape(printable(str(value)))


def figure(shown: Figure, links: Sequence[str] = ("pdf", "svg", "png", "csv", "txt")) -> str:
    """The place of a chart, its caption, and links to the files beside the page."""
    name = escape(shown.name)
    anchors = " ".join(f"<a href='{name}.{kind}'>{kind.upper()}</a>" for kind in links)
    image = f"<noscript><img src='{name}.png' alt='{name}' style='max-width:100%'></noscript>" if links else ""
    return (
        f"<figure><div data-figure='spec-{name}'></div>{image}"
        f"<figcaption>{escape(shown.caption)} {anchors}</figcaption></figure>"
    )


def details(summary: str, text: str) -> str:
    """A block of text to be opened."""
    return f"<details><summary>{escape(summary)}</summary><pre>{escape(text)}</pre></details>"


def table(rows: Sequence[Mapping[str, str]], *, stack: bool = False) -> str:
    """A table of texts; `stack` turns rows into cards on a narrow screen."""
    heads = "".join(f"<th>{escape(name)}</th>" for name in rows[0])
    body = "".join(f"<tr>{''.join(_cells(row.items()))}</tr>" for row in rows)
    kind = " class=stack" if stack else ""
    return f"<div class=scroll><table{kind}><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"


def _cells(row: Iterable[tuple[str, str]]) -> Iterable[str]:
    for name, value in row:
        kind = " class=verdict" if name == "verdict" else ""
        yield f"<td data-name='{escape(name)}'{kind}>{escape(value)}</td>"


def _scripts(figures: Sequence[Figure]) -> str:
    """The charting library once, the charts as JSON, and what puts them together."""
    charts = [
        f"<script type='application/json' id='spec-{escape(shown.name)}'>{_json(shown.spec)}</script>"
        for shown in figures
    ]
    return "\n".join([*charts, f"<script>{_library()}</script>", f"<script>{SCRIPT}</script>"])


@cache
def _library() -> str:
    import vl_convert

    bundle: Any = vl_convert.javascript_bundle  # its type stub asks for an argument that has a default
    return str(bundle()).replace("</script", "<\\/script")


def _json(spec: Mapping[str, Any]) -> str:
    bare = {key: value for key, value in spec.items() if key != "$schema"}
    return json.dumps(bare, separators=(",", ":")).replace("<", "\\u003c")
