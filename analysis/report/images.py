"""A figure as files: vector and PNG, its data as CSV, and a note that says how to read it and how to draw it again.

Widths are real: 96 px of a chart are one inch on paper, in every format, so that a figure is included as it is.
"""

from __future__ import annotations

import io
import re
from typing import Any

from grokstudy.analysis.figures.theme import COLUMN, Figure
from grokstudy.trainables.messages import printable

PPI, PPI_PNG = 96, 300
COLOURS = 96
"""Of a small picture: a few hues and what lies between each and the paper."""
_GRADIENT = re.compile(r"gradient_(\d+)")
_SIZE = re.compile(r'width="([\d.]+)" height="([\d.]+)"')


def pictures(figure: Figure, command: str, column: bool = False) -> dict[str, bytes]:
    """The files of a figure by name. `command` draws it again; `column` makes it fit one column of a paper."""
    import vl_convert

    name = f"{figure.name}_column" if column else figure.name
    svg = _svg(figure.column if column else figure.spec)
    size: Any = _SIZE.search(svg)
    width, height = float(size[1]), float(size[2])  # in px
    points = f'width="{width * 72 / PPI:g}" height="{height * 72 / PPI:g}"'  # what a PDF counts in: 72 to the inch
    return {
        f"{name}.svg": svg.encode(),
        f"{name}.pdf": bytes(vl_convert.svg_to_pdf(_SIZE.sub(points, svg, count=1))),
        f"{name}.png": bytes(vl_convert.svg_to_png(svg, scale=72 / PPI, ppi=PPI_PNG)),
        f"{name}.csv": figure.data.write_csv().encode(),
        f"{name}.txt": _note(figure, name, width, command).encode(),
    }


def small_png(figure: Figure, ppi: int) -> bytes:
    """The figure as a picture of few colours and so many dots to the inch, to be kept beside a text."""
    import vl_convert
    from PIL import Image

    drawn = vl_convert.svg_to_png(_svg(figure.spec), scale=72 / PPI, ppi=ppi)
    kept = io.BytesIO()
    with Image.open(io.BytesIO(drawn)) as picture:
        flat = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
        flat.save(kept, "png", optimize=True)
    return kept.getvalue()


def _svg(spec: Any) -> str:
    import vl_convert

    return _numbered(str(vl_convert.vegalite_to_svg(_drawable(spec))))


def _drawable(spec: Any) -> Any:
    """The same chart with every text fit for SVG: a control character in a label would end the process."""
    if isinstance(spec, str):
        return printable(spec)
    if isinstance(spec, dict):
        return {_drawable(key): _drawable(value) for key, value in spec.items()}
    return [_drawable(value) for value in spec] if isinstance(spec, list | tuple) else spec


def _numbered(svg: str) -> str:
    """The same drawing with its gradients counted from 0, not from the first that this process drew."""
    known: dict[str, int] = {}
    return _GRADIENT.sub(lambda match: f"gradient_{known.setdefault(match[1], len(known))}", svg)


def _note(figure: Figure, name: str, width: float, command: str) -> str:
    fits = "one column" if width <= COLUMN else "both columns"
    return (
        f"{figure.caption}\n\nsize:   {width / PPI:.1f} in wide: {fits} of a two-column paper\n"
        f"data:   {name}.csv\nredraw: {command}\n"
    )
