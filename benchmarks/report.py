"""How a large report behaves: `python -m benchmarks.report [RUNS]`, one JSON line.

A study of synthetic curves over four regimes: seconds to write its report, bytes of its page, and seconds until
Chromium has drawn every figure of it, from the file, without a network.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))


def opened(page: Path) -> tuple[float, int]:
    """Seconds until all charts are drawn, and how many there are."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True).new_page()
        begun = time.monotonic()
        tab.goto(page.as_uri())
        boxes = tab.locator("[data-figure]").count()
        tab.wait_for_function(f"document.querySelectorAll('[data-figure] svg').length >= {boxes}", timeout=120_000)
        seconds = time.monotonic() - begun
        browser.close()
    return seconds, boxes


def main() -> None:
    """Measure and print."""
    from synthetic import build_large

    from grokstudy.analysis.report.report import write_report

    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    with tempfile.TemporaryDirectory() as scratch:
        root = build_large(Path(scratch), runs)
        begun = time.monotonic()
        written = write_report(root, "large")
        seconds = {"write_s": round(time.monotonic() - begun, 1)}
        page = Path(written.index)
        shown, figures = opened(page)
        sizes = {"page_mb": round(page.stat().st_size / 1e6, 2), "figures": figures, "open_s": round(shown, 2)}
    print(json.dumps({"benchmark": "report", "runs": runs, **seconds, **sizes}))


if __name__ == "__main__":
    main()
