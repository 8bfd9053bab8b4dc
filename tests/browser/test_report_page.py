"""The report in a browser without a network: drawn, quiet, readable wide and narrow, dark and light."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from synthetic import build

from grokstudy.analysis.compare.compare import compare
from grokstudy.analysis.compare.select import side
from grokstudy.analysis.compare.text import compare_page
from grokstudy.analysis.report.report import write_report

pytestmark = pytest.mark.slow
FIGURES = 5


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = build(tmp_path_factory.mktemp("page"), seeds=2)
    sides = [side(str(root), f"regimes:data.exposure={regime}") for regime in ("natural", "both_hops")]
    compared = root / "compare.html"
    compared.write_text(compare_page(sides, compare(sides)))
    return {"report": Path(write_report(root, "regimes").index), "compare": compared}


def opened(browser: Any, page: Path, width: int, scheme: str) -> tuple[Any, list[str]]:
    """The page once its charts are drawn, and everything that went wrong or was fetched meanwhile."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True, reduced_motion="reduce"
    )
    tab, wrong = context.new_page(), []
    tab.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("request", lambda asked: None if asked.url.startswith(("file:", "data:")) else wrong.append(asked.url))
    tab.goto(page.as_uri())
    boxes = tab.locator("[data-figure]").count()
    tab.wait_for_function(f"document.querySelectorAll('[data-figure] svg').length >= {boxes}", timeout=60_000)
    return tab, wrong


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["report", "compare"])
def test_pages_are_drawn_offline_and_readable(
    browser: Any, pages: dict[str, Path], shots: Path, name: str, width: int, scheme: str
) -> None:
    tab, wrong = opened(browser, pages[name], width, scheme)
    tab.screenshot(path=shots / f"{name}_{width}_{scheme}.png", full_page=True)
    assert wrong == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
    too_wide = "[...document.querySelectorAll('figure svg')].filter(s => s.getBoundingClientRect().right > innerWidth)"
    assert tab.evaluate(f"{too_wide}.length") == 0
    assert contrast(tab, "p.lead, h1") >= 4.5
    papers = {"#fff", "#ffffff", "white"}
    backgrounds = tab.evaluate("[...document.querySelectorAll('figure svg > rect, figure svg .background')]"
                               ".map(e => e.getAttribute('fill'))")  # fmt: skip
    assert scheme == "light" or not papers & set(backgrounds), "no white card on a dark page"
    if name == "report" and width == 1280:
        shown = tab.evaluate("document.querySelector('.answer').getBoundingClientRect().bottom")
        assert shown <= 900, "the answer is on the first screen"
        drawn = "[...document.querySelectorAll('figure svg')].map(s => s.getBoundingClientRect().width)"
        assert max(tab.evaluate(drawn)) >= 0.9 * tab.evaluate("document.querySelector('figure').clientWidth")
    assert smallest_text(tab) >= 11
    tab.context.close()


def contrast(tab: Any, selector: str) -> float:
    """Contrast of a text against the page, by WCAG 2."""
    colours = tab.evaluate(
        "selector => [getComputedStyle(document.querySelector(selector)).color,"
        " getComputedStyle(document.body).backgroundColor]",
        selector,
    )
    light, dark = sorted((luminance(colour) for colour in colours), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    channels = [int(part) / 255 for part in colour.split("(")[1].rstrip(")").split(",")[:3]]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def smallest_text(tab: Any) -> float:
    """Size of the smallest text of the page outside its charts, in CSS pixels."""
    script = (
        "Math.min(...[...document.querySelectorAll('p,td,th,li,figcaption,summary')]"
        ".map(e => parseFloat(getComputedStyle(e).fontSize)))"
    )
    return float(tab.evaluate(script))


def test_hovering_shows_values(browser: Any, pages: dict[str, Path]) -> None:
    tab, wrong = opened(browser, pages["report"], 1280, "light")
    mark = tab.locator("[data-figure='spec-decoupling_plane'] svg g.mark-symbol path").first
    mark.scroll_into_view_if_needed()
    mark.hover(force=True)
    tip = tab.locator("#vg-tooltip-element.visible")
    tip.wait_for(timeout=10_000)
    assert "step" in tip.inner_text() or "seed" in tip.inner_text()
    assert wrong == []
    tab.context.close()
