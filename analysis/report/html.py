"""Self-contained HTML pages from the templates beside this file: styles, data and the charting library are in them.

Everything that a template is given is escaped, and rid of control characters first; `chart` alone writes JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grokstudy.trainables.messages import printable
from grokstudy.trainables.storage.store import write_local

if TYPE_CHECKING:
    from jinja2 import Environment

    from grokstudy.analysis.figures.theme import Figure

COMPLETE = "\n// complete\n"
"""The end of a script that was kept whole."""
TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, figures: Sequence[Figure], **context: Any) -> str:
    """A whole page that fetches nothing; a name that a template asks for and is not given is an error."""
    from grokstudy.analysis.figures.theme import ON_DARK  # with all of altair

    return environment().get_template(template).render(figures=figures, inks=ON_DARK, **context)


@cache
def environment() -> Environment:
    """The templates, read once."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loaded = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True, finalize=_shown,
    )  # fmt: skip
    loaded.filters["chart"] = _json
    loaded.globals["library"] = library
    return loaded


def _shown(value: Any) -> Any:
    """A value as text; markup, which the templates made themselves, as it is."""
    return value if hasattr(value, "__html__") else printable(str(value))


@cache
def library() -> Any:
    """The charting library: vega, vega-lite and vega-embed in one script, put together once on a machine."""
    import vl_convert
    from markupsafe import Markup

    kept = _kept_library()
    with contextlib.suppress(OSError, ValueError):
        if kept is not None and (script := kept.read_text(encoding="utf-8")).endswith(COMPLETE):
            return Markup(script)
    bundle: Any = vl_convert.javascript_bundle  # its type stub asks for an argument that has a default
    script = str(bundle()).replace("</script", "<\\/script") + COMPLETE
    with contextlib.suppress(OSError):  # then the next report takes two seconds longer, too
        if kept is not None:
            write_local(kept, script.encode())
    return Markup(script)


def _kept_library() -> Path | None:
    """In the cache of this user; None for one who has no home."""
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    except RuntimeError:
        return None
    return Path(home, "grokstudy", f"charts-{version('vl-convert-python')}.js")


def _json(spec: Mapping[str, Any]) -> Any:
    from markupsafe import Markup

    bare = {key: value for key, value in spec.items() if key != "$schema"}
    return Markup(json.dumps(bare, separators=(",", ":")).replace("<", "\\u003c"))
