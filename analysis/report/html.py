"""Parts of self-contained HTML pages: tables, figures, and the charting library, inlined once."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from grokstudy.trainables.messages import printable

if TYPE_CHECKING:
    from grokstudy.analysis.figures.theme import Figure


# Light and dark, wide and narrow; charts, sized for paper, stay light.
STYLE = """
:root{--ink:#1d1f23;--soft:#5b616b;--line:#dcdfe4;--page:#fff;--card:#f6f7f9;--accent:#0072b2;
color-scheme:light dark}
@media(prefers-color-scheme:dark){:root{--ink:#e8eaed;--soft:#a3aab5;--line:#3a3f47;--page:#16181c;--card:#1f2227;
--accent:#6db7e8}}
*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--ink);
font:16px/1.5 system-ui,"Helvetica Neue",Arial,sans-serif}
main{max-width:1080px;margin:0 auto;padding:24px 20px 64px}h1{font-size:1.7rem;margin:.2em 0}
h2{font-size:1.2rem;margin:2em 0 .6em;border-bottom:1px solid var(--line);padding-bottom:.2em}
p{max-width:46em}h1,p,li,td{overflow-wrap:anywhere}.soft{color:var(--soft);font-size:.88rem}.lead{font-size:1.1rem}
table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.4em .7em .4em 0;border-bottom:1px solid var(--line);vertical-align:top}
th{color:var(--soft);font-weight:600}td.verdict{font-weight:600}table.stack td{white-space:nowrap}
table.stack td:first-child{white-space:normal;min-width:11em;overflow-wrap:break-word}
figure{margin:1.2em 0;background:#fff;color:#222;border:1px solid var(--line);border-radius:8px;padding:14px}
figure svg{max-width:100%;height:auto}figcaption{font-size:.85rem;color:#555;margin-top:.5em}
figcaption a{color:#0072b2}a{color:var(--accent)}
pre{background:var(--card);padding:12px;border-radius:8px;overflow:auto;font-size:.8rem;line-height:1.4}
details{margin:.4em 0}summary{cursor:pointer}.scroll{overflow-x:auto}
@media(min-width:1000px){figure svg{zoom:1.4}}
.warn{border-left:4px solid #d55e00;padding-left:12px}
@media(max-width:700px){main{padding:12px 12px 48px}figure{padding:8px;margin-inline:-4px}
table.stack thead{display:none}
table.stack tr{display:block;border-bottom:2px solid var(--line);padding:.5em 0}
table.stack td{display:flex;justify-content:space-between;gap:1em;border:0;
white-space:normal;padding:.15em 0;text-align:right}
table.stack td::before{content:attr(data-name);color:var(--soft);text-align:left}
table.stack td:first-child{font-weight:700}}
"""
SCRIPT = """
const narrow = innerWidth < 760;
for (const box of document.querySelectorAll("[data-figure]")) {
  const spec = JSON.parse(document.getElementById(box.dataset.figure).textContent);
  if (narrow && spec.columns) spec.columns = 1;
  if (narrow) spec.config.legend = {...spec.config.legend, columns: 2};
  vegaEmbed(box, spec, {mode: "vega-lite", actions: false, renderer: "svg"});
}
"""


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
