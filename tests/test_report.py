"""The report: complete, self-contained, the same bytes for the same tables."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from synthetic import build, run_id, trial_row, write_study

from analysis.answer import answer
from analysis.page import page as html_page
from analysis.report import ReportPaths, failures, write_report
from analysis.tables import load
from trainables.store import Store

VERSIONS = {"grokstudy": "0.1.0", "commit": "abc1234"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four regimes, a crashed trial, a torn part, and text that wants to be markup."""
    root = build(tmp_path_factory.mktemp("report"), seeds=1, hypothesis="Is <b>x</b> > y & </script>?")
    rows = [trial_row("crash", n, 3000, n, state=state) for n, state in enumerate(("done", "failed", "diverged"))]
    write_study(root, "crash", rows, axes=[])
    failed = {"error": "RuntimeError: no memory", "traceback": "Traceback\n  in <module>"}
    Store(root).write_json(f"runs/{run_id(1)}/FAILED.json", failed)
    torn = root / f"metrics/evals/run_id={run_id(2)}/part-000001500.parquet"
    torn.write_bytes(b"PAR1")
    return root


@pytest.fixture(scope="module")
def paths(root: Path) -> ReportPaths:
    return write_report(root, "regimes", VERSIONS)


class Tags(HTMLParser):
    """Collects what a browser would fetch, and whether tags are balanced."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "link", "iframe"):
            self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_every_figure_is_there_as_picture_and_data(paths: ReportPaths) -> None:
    names = {name.rsplit(".", 1)[0] for name in paths.files if name.endswith(".csv")} - {"answer"}
    assert {"decoupling_plane", "curves", "lead", "survival"} <= names
    for name in names:
        assert Path(paths.files[f"{name}.png"]).read_bytes().startswith(b"\x89PNG")
        assert "<svg" in Path(paths.files[f"{name}.svg"]).read_text()[:300]
    assert json.loads(Path(paths.files["answer.json"]).read_text())[0]["seeds"] == 1


def test_the_page_is_whole_and_fetches_nothing(paths: ReportPaths) -> None:
    page = Path(paths.index).read_text()
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert tags.fetched == []
    assert page.count("window.vegaEmbed=") == 1
    bare = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert "http" not in bare
    assert "@import" not in bare
    assert len(page) < 3e6


def test_the_page_says_what_was_asked_and_what_came_out(paths: ReportPaths) -> None:
    page = Path(paths.index).read_text()
    assert "Is &lt;b&gt;x&lt;/b&gt; &gt; y &amp; &lt;/script&gt;?" in page
    for words in ("coupled 1/1", "latent 1/1", "abc1234", "# four regimes", "data.exposure", "Every trial is done"):
        assert words in page
    assert f"run_id={run_id(2)}/part-000001500.parquet" in page
    assert "1 files could not be read" in page


def test_the_charts_in_the_page_can_be_parsed(paths: ReportPaths) -> None:
    page = Path(paths.index).read_text()
    specs = re.findall(r"<script type='application/json' id='(.*?)'>(.*?)</script>", page, flags=re.DOTALL)
    assert len(specs) == page.count("data-figure='spec-")
    assert all(json.loads(text)["config"] for _, text in specs)


def test_the_same_tables_give_the_same_bytes(root: Path, paths: ReportPaths) -> None:
    before = {name: Path(path).read_bytes() for name, path in paths.files.items()}
    stale = Path(paths.index).parent / "no_longer_drawn.png"
    stale.write_bytes(b"")
    again = write_report(root, "regimes", VERSIONS)
    assert not stale.exists()
    assert {name: Path(path).read_bytes() for name, path in again.files.items()} == before


def test_crashes_are_listed_with_their_traceback_and_divergence_beside_them(root: Path) -> None:
    tables = load(root, "crash")
    page = html_page(tables, answer(tables), [], {}, failures(root, tables))
    assert "1 diverged, 1 failed." in page
    assert "RuntimeError: no memory" in page
    assert "in &lt;module&gt;" in page


def test_a_study_without_any_data_still_has_a_report(tmp_path: Path) -> None:
    write_study(tmp_path, "s", [], axes=["depth"], versions={"torch": "2.11"}, commit="f00")
    page = Path(write_report(tmp_path, "s").index).read_text()
    assert "There are no trials yet." in page
    assert "f00" in page
    assert "vegaEmbed" not in page
