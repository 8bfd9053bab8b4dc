"""The gallery: what each family's row says of a root whose answer is known, and what it says where there is none."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from synthetic import REGIMES, STEPS, build, run_id, trial_row, write_run, write_study
from typer.testing import CliRunner

from grokstudy.analysis.figures.gallery import COLOURS, HEIGHT, LINES, MOST, together
from grokstudy.analysis.report.gallery import WORDS, exhibits, write_gallery
from grokstudy.analysis.statistics.decoupling import CLASSES
from grokstudy.analysis.statistics.milestones import MILESTONES, milestones
from grokstudy.analysis.tables.families import FAMILIES, in_common_words
from grokstudy.analysis.tables.study import load
from grokstudy.orchestrator.cli import app
from grokstudy.trainables.events import events_of

ROOT = Path(__file__).resolve().parents[2]
COMMON: dict[str, dict[str, Any]] = {
    "circuit": {"metric": "bridge_hit", "split": ["test_oo"], "at_least": 0.9, "for": 3},
    "generalised_ii": {"metric": "accuracy", "split": ["test_ii"], "at_least": 0.5, "for": 3},
    "generalised": {"metric": "accuracy", "split": ["test_oo"], "at_least": 0.5, "for": 3},
    "memorised": {"metric": "accuracy", "split": ["train_ii"], "at_least": 0.95, "for": 3},
}
TITLE = "S3 more hops, fact classes"
ORDERS = {  # of the component and the behaviour in distribution, and that out of distribution
    "natural": ("without", "neither"),
    "first_hop": ("after", "alone"),
    "second_hop": ("without", "without"),
    "both_hops": ("after", "after"),
}


def family(root: Path, name: str, task: str | None = None, **spec: Any) -> Path:
    return build(root, name, **{"events": COMMON, "base": {"task": task or name}, **spec})


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return family(tmp_path_factory.mktemp("gallery"), "comparison")


@pytest.fixture(scope="module")
def page(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(write_gallery([str(root)], tmp_path_factory.mktemp("page") / "docs/gallery.md").page)


def lines_of(page: Path, title: str) -> list[list[str]]:
    """The cells of the rows of a family in both tables."""
    rows = [line for line in page.read_text().splitlines() if line.startswith(f"| {title} ")]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


def test_a_oneis_told_setting_by_setting_with_n_intervals_and_censoring(page: Path) -> None:
    overview, *settings = lines_of(page, "S2 comparison")
    assert overview[2:] == [
        "12 in 4",
        "after in 2, without in 2 of 4",
        "in most runs of 2 of 4; in the others not within 3000 steps",
        "after in 1, without in 1, alone in 1, neither in 1 of 4",
    ]
    told = {cells[1]: cells[2:] for cells in settings}
    assert list(told) == list(REGIMES)
    for regime, (order, order_ood) in ORDERS.items():
        assert (told[regime][3], told[regime][6]) == (f"{order} 3/3 (0.44–1.00)", f"{order_ood} 3/3 (0.44–1.00)")
    both = told["both_hops"]
    assert both[0] == "3"
    assert both[1:3] == ["3/3 (0.44–1.00), 1372 (1245–1507)", "3/3 (0.44–1.00), 565 (524–607)"]
    assert re.fullmatch(r"-0\.\d\d \(-0\.\d\d to -0\.\d\d; 75 %\)", both[4])
    assert told["natural"][1] == "0/3 (0.00–0.56), >3000"
    assert re.fullmatch(r"<-0\.\d\d \(<-0\.\d\d; 75 %\)", told["natural"][4])
    assert told["natural"][7] == "–"


def test_a_onethat_no_root_has_is_a_row_without_a_number(page: Path) -> None:
    absent = [name for name in FAMILIES if name != "comparison"]
    for name in absent:
        title = f"{FAMILIES[name].number} {FAMILIES[name].title}"
        overview, setting = lines_of(page, title)
        assert overview[1:] == [f"`{name}`", "not run: no root has it", "–", "–", "–"]
        assert setting[1] == "not run: no root has it"
        assert set(setting[2:]) == {"–"}
        assert f"Not run: no root has a study `{name}`." in page.read_text()
    assert [path.stem for path in (page.parent / "images/gallery").iterdir()] == ["comparison"]


def test_the_page_links_to_what_is_there_and_repeats_exactly(page: Path, root: Path, tmp_path: Path) -> None:
    text = page.read_text()
    assert "](results/comparison.md)" not in text, "there is no such page beside this one"
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert (page.parent / target).is_file()
    again = tmp_path / "gallery.md"
    (tmp_path / "results").mkdir()
    write_gallery([str(root)], again)
    assert again.read_text() == text
    picture = "images/gallery/comparison.png"
    assert (tmp_path / picture).read_bytes() == (page.parent / picture).read_bytes()
    (tmp_path / "results/comparison.md").touch()
    write_gallery([str(root)], again)
    assert "[What came out](results/comparison.md)" in again.read_text()


def test_what_did_not_end_is_counted_and_never_becomes_a_number(tmp_path: Path) -> None:
    rows = []
    for number, (state, seed) in enumerate([("done", 0), ("failed", 1), ("missing", 2)]):
        write_run(tmp_path, run_id(number), REGIMES["both_hops"], seed)
        rows.append({**trial_row("k_hop", number, STEPS, seed, state), "data.hops": 3})
    rows.append({**trial_row("k_hop", 3, STEPS, 0, "missing"), "data.hops": 4})
    write_study(tmp_path, "k_hop", rows, ["data.hops"], events=COMMON)
    written = write_gallery([str(tmp_path)], tmp_path / "gallery.md")
    overview, three, four = lines_of(Path(written.page), TITLE)
    assert overview[2] == "1 in 2; 3 not ended"
    assert three[1:3] == ["hops=3", "1 (2 not ended)"]
    assert three[5] == "after 1/1 (0.21–1.00)"
    assert four[1:3] == ["hops=4", "0 (1 not ended)"]
    assert [four[at] for at in (3, 4, 5, 7, 8)] == ["not measured"] * 5
    (row,) = [row for row in written.rows if row["setting"] == "hops=4"]
    assert (row["runs"], row["component_at"], row["order_lead"]) == (0, None, None)


def test_settings_of_which_most_runs_disagree_are_mixed(tmp_path: Path) -> None:
    rows = []
    for seed, regime in enumerate(("both_hops", "second_hop")):
        write_run(tmp_path, run_id(seed), REGIMES[regime], seed)
        rows.append(trial_row("k_hop", seed, STEPS, seed))
    write_study(tmp_path, "k_hop", rows, [], events=COMMON)
    overview, setting = lines_of(Path(write_gallery([str(tmp_path)], tmp_path / "p.md").page), TITLE)
    assert overview[3] == "mixed in 1 of 1"
    assert setting[5] == "after 1/2 (0.09–0.91), without 1/2 (0.09–0.91)"


def test_a_study_without_an_event_did_not_ask(tmp_path: Path) -> None:
    events = {name: COMMON[name] for name in ("circuit", "generalised")}
    page = Path(write_gallery([str(family(tmp_path, "tree_path", events=events))], tmp_path / "g.md").page)
    overview, first, *_ = lines_of(page, "S5 paths in trees")
    assert overview[3] == "not asked"
    assert (first[4], first[5], first[6]) == ("not asked", "not asked", "–")
    assert first[8] == "neither 3/3 (0.44–1.00)"
    assert "- behaviour: not asked by this study" in page.read_text()


def test_a_study_that_uses_the_common_names_is_read_as_it_declares_them(tmp_path: Path) -> None:
    tables = in_common_words(load(family(tmp_path, "decoupling", "two_hop", seeds=1), "decoupling"))
    assert tables.declared == {
        name: event for name, event in events_of({"events": COMMON}).items() if name != "memorised"
    }


def test_every_class_has_a_word() -> None:
    assert set(WORDS) == set(CLASSES)
    assert len(set(WORDS.values())) == len(CLASSES)


def test_a_study_is_taken_from_one_root(root: Path, tmp_path: Path) -> None:
    other = family(tmp_path, "comparison", seeds=1)
    with pytest.raises(ValueError, match=f"comparison is in .*{root.name} and in .*{tmp_path.name}; name one"):
        exhibits([str(root), str(other)])
    with pytest.raises(ValueError, match=r"no root has a study 'mine'; they have: comparison"):
        exhibits([str(root)], ["mine"])
    shown = exhibits([str(root), str(root)], ["k_hop", "comparison"])
    assert [(exhibit.study, exhibit.tables is None) for exhibit in shown] == [("k_hop", True), ("comparison", False)]


def test_pictures_have_the_same_axes_colours_and_marks(root: Path, tmp_path: Path) -> None:
    family(tmp_path, "mine", seeds=2)
    figures = [together(in_common_words(load(*where))) for where in ((root, "comparison"), (tmp_path, "mine"))]
    for figure, runs in zip(figures, (3, 2), strict=True):
        assert figure is not None
        panels = figure.spec["concat"]
        assert [panel["title"]["text"] for panel in panels] == [[name] for name in REGIMES]
        assert panels[1]["title"]["subtitle"] == f"reached in {runs}, {runs}, 0 of {runs}"
        for panel in panels:
            colour, y = (panel["layer"][0]["encoding"][name] for name in ("color", "y"))
            assert colour["scale"] == {"domain": list(COLOURS), "range": list(COLOURS.values())}
            assert (y["scale"]["domain"], panel["height"]) == ([0, 1], HEIGHT)
        marks = figure.data.filter(pl.col("line").is_in(("observed", "censored")))
        assert marks.height == runs * 3 * len(REGIMES)
        assert figure.data.schema == LINES
        assert json.dumps(figure.spec, allow_nan=False)


def test_a_picture_shows_as_many_settings_as_can_be_told_apart(tmp_path: Path) -> None:
    values = range(MOST + 1)
    for value in values:
        write_run(tmp_path, run_id(value), REGIMES["both_hops"], 0)
    rows = [{**trial_row("k_hop", value, STEPS, 0), "data.hops": value} for value in values]
    write_study(tmp_path, "k_hop", rows, ["data.hops"], events=COMMON)
    figure = together(in_common_words(load(tmp_path, "k_hop")))
    assert figure is not None
    assert [panel["title"]["text"][0] for panel in figure.spec["concat"]] == [f"hops={n}" for n in values[:MOST]]
    assert figure.caption.endswith(f"Drawn are the first {MOST} of {MOST + 1} settings.")


def test_pictures_are_small(page: Path) -> None:
    picture = (page.parent / "images/gallery/comparison.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 60_000


def test_milestones_have_the_same_columns_for_every_task(root: Path, tmp_path: Path) -> None:
    found = milestones(load(root, "comparison")).collect()
    assert found.schema == MILESTONES
    both = found.filter(pl.col("setting") == "both_hops").row(0, named=True)
    assert (both["task"], both["order"], both["order_ood"]) == ("comparison", "answer_first", "answer_first")
    assert both["behaviour_at"] < both["ood_at"] < both["component_at"]
    natural = found.filter(pl.col("setting") == "natural").row(0, named=True)
    assert (natural["component_state"], natural["component_at"], natural["order"]) == ("censored", None, "fake")
    asked = milestones(load(build(tmp_path, seeds=1), "regimes")).collect()
    assert asked.schema == MILESTONES
    assert asked["behaviour_state"].null_count() == asked["order"].null_count() == asked.height


def test_the_command_writes_a_page_and_prints_numbers(root: Path, tmp_path: Path) -> None:
    words = ["gallery", str(root), "--out", str(tmp_path / "page.md")]
    told = CliRunner().invoke(app, words)
    assert told.exit_code == 0, told.stderr
    assert told.stdout.splitlines()[0] == f"page: {tmp_path / 'page.md'}"
    assert "not in these roots: affine_icl, " in told.stdout
    rows = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert len({tuple(row) for row in rows}) == 1, "the same columns for all"
    by_setting = {row["setting"]: row for row in rows if row["study"] == "comparison"}
    assert {name: (row["order"], row["order_ood"]) for name, row in by_setting.items()} == ORDERS
    assert all(value is None for name, value in rows[0].items() if name not in ("study", "family"))
    wrong = CliRunner().invoke(app, ["gallery", str(tmp_path / "absent")])
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert "there is no such root" in wrong.stderr


def test_the_page_that_is_checked_in_has_a_row_and_a_section_of_every_family() -> None:
    page = ROOT / "docs/gallery.md"
    for one in FAMILIES.values():
        assert len(lines_of(page, f"{one.number} {one.title}")) >= 2
        assert f"### {one.number} {one.title} (arXiv {one.paper})" in page.read_text()


def test_make_gallery_trains_the_studies_of_all_families() -> None:
    (named,) = re.findall(r"^FAMILIES *:= *(.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert named.split() == list(FAMILIES)
