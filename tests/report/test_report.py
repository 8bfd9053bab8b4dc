"""The report: complete, self-contained, the same bytes for the same tables."""

from __future__ import annotations

import json
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path

import pytest
from synthetic import build, build_large, run_id, trial_row, write_study
from typer.testing import CliRunner

from grokstudy.analysis.answer import answer
from grokstudy.analysis.figures import draw
from grokstudy.analysis.report.page import page as html_page
from grokstudy.analysis.report.report import ReportPaths, failures, write_report
from grokstudy.analysis.tables.study import load
from grokstudy.orchestrator.cli import app
from grokstudy.trainables.storage.store import Store

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
        png = Path(paths.files[f"{name}.png"]).read_bytes()
        assert png.startswith(b"\x89PNG")
        assert int.from_bytes(png[png.index(b"pHYs") + 4 :][:4], "big") == round(300 / 0.0254), "300 px to the inch"
        svg, pdf = (Path(paths.files[f"{name}.{kind}"]).read_bytes() for kind in ("svg", "pdf"))
        width = float(re.search(rb'width="([\d.]+)"', svg)[1])  # type: ignore[index]
        points = float(re.search(rb"/MediaBox ?\[0 0 ([\d.]+)", pdf)[1])  # type: ignore[index]
        assert points / 72 == pytest.approx(width / 96, abs=0.01)
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
    for words in (
        "answer_first 1/1",
        "latent 1/1",
        "abc1234",
        "# four regimes",
        "data.exposure",
        "Every trial is done",
    ):
        assert words in page
    assert f"run_id={run_id(2)}/part-000001500.parquet" in page
    assert "1 files could not be read" in page


def test_the_charts_in_the_page_can_be_parsed(paths: ReportPaths) -> None:
    page = Path(paths.index).read_text()
    specs = re.findall(r"<script type='application/json' id='(spec-.*?)'>(.*?)</script>", page, flags=re.DOTALL)
    assert len(specs) == page.count("data-figure='spec-")
    assert all(json.loads(text)["config"] for _, text in specs)


def test_the_same_tables_give_the_same_bytes(root: Path, paths: ReportPaths) -> None:
    compared = {name: path for name, path in paths.files.items() if not name.endswith(".pdf")}
    before = {name: Path(path).read_bytes() for name, path in compared.items()}
    stale = Path(paths.index).parent / "no_longer_drawn.png"
    stale.write_bytes(b"")
    again = write_report(root, "regimes", VERSIONS)
    assert not stale.exists()
    assert list(again.files) == list(paths.files)
    assert {name: Path(again.files[name]).read_bytes() for name in before} == before


def test_each_figure_says_how_to_draw_it_again_and_that_works(root: Path, paths: ReportPaths) -> None:
    for name in ("curves", "decoupling_plane"):
        files = {kind: Path(paths.files[f"{name}.{kind}"]) for kind in ("svg", "pdf", "png", "csv", "txt")}
        before = {kind: path.read_bytes() for kind, path in files.items()}
        command = re.search(r"redraw: grokstudy (.*)", before["txt"].decode())[1]  # type: ignore[index]
        for path in files.values():
            path.unlink()
        done = CliRunner().invoke(app, shlex.split(command))
        assert done.exit_code == 0, done.output
        after = {kind: path.read_bytes() for kind, path in files.items()}
        assert len(after.pop("pdf")) == len(before["pdf"]), "its fonts come in any order"
        assert after == {kind: content for kind, content in before.items() if kind != "pdf"}
    column = CliRunner().invoke(app, [*shlex.split(command)[:-1], "curves", "--column"]).stdout.split()
    assert [Path(path).name for path in column] == [f"curves_column.{kind}" for kind in before]
    assert "in wide: one column" in Path(column[-1]).read_text()
    write_report(root, "regimes", VERSIONS)
    assert Path(column[0]).exists(), "a report leaves it, as long as the figure is drawn"
    unknown = CliRunner().invoke(app, [*shlex.split(command)[:-1], "curve"])
    assert unknown.exit_code == 2
    assert "it has: decoupling_plane, curves" in unknown.stderr


def test_crashes_are_listed_with_their_traceback_and_divergence_beside_them(root: Path) -> None:
    tables = load(root, "crash")
    page = html_page(tables, answer(tables), [], {}, failures(root, tables))
    assert "1 diverged, 1 failed." in page
    assert "RuntimeError: no memory" in page
    assert "in &lt;module&gt;" in page


@pytest.mark.slow
def test_the_page_of_many_runs_is_small(tmp_path: Path) -> None:
    tables = load(build_large(tmp_path, 240), "large")
    figures = draw(tables)
    page = html_page(tables, answer(tables), figures, {}, failures(tmp_path, tables))
    assert len(page) < 4e6, "its lines are at their limit: the page of 2,000 runs is as large (benchmarks.report)"
    assert "Lines are drawn for 200 of 240 runs" in page


def test_a_study_without_any_data_still_has_a_report(tmp_path: Path) -> None:
    write_study(tmp_path, "s", [], axes=["depth"], versions={"torch": "2.11"}, commit="f00")
    page = Path(write_report(tmp_path, "s").index).read_text()
    assert "There are no trials yet." in page
    assert "f00" in page
    assert "vegaEmbed" not in page
