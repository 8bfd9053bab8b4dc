"""Every registered figure keeps the contract; what a chart shows is small, complete and coloured alike."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from synthetic import REGIMES, STEPS, Regime, build, build_forks, build_grid, run_id, trial_row, write_run, write_study

from grokstudy.analysis.figures import FIGURES, draw
from grokstudy.analysis.figures.sites_over_training import SNAPSHOTS, snapshots
from grokstudy.analysis.figures.theme import (
    CHART_ROWS,
    COLUMN,
    LINE_POINTS,
    PAGE,
    PALETTE,
    Figure,
    colour,
    regimes,
    spec,
    thin,
)
from grokstudy.analysis.report.images import PPI, pictures
from grokstudy.analysis.tables.study import StudyTables
from grokstudy.analysis.tables.study import load as load_tables


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> StudyTables:
    return load_tables(build(tmp_path_factory.mktemp("figures")), "regimes")


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> StudyTables:
    return load_tables(build_grid(tmp_path_factory.mktemp("grid")), "grid")


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> StudyTables:
    return load_tables(build_forks(tmp_path_factory.mktemp("forks")), "forks")


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> StudyTables:
    root = tmp_path_factory.mktemp("empty")
    write_study(root, "s", [trial_row("s", 0, 100, 0, state="missing")], axes=[])
    return load_tables(root, "s")


def drawn(name: str, tables: StudyTables) -> list[Figure]:
    return FIGURES[name](tables) or []


def strings(value: Any) -> Iterator[str]:
    """Every text in a specification."""
    if isinstance(value, dict):
        yield from (text for part in value.values() for text in strings(part))
    elif isinstance(value, list):
        yield from (text for part in value for text in strings(part))
    elif isinstance(value, str):
        yield value


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_named_charted_and_explained(
    name: str, plain: StudyTables, grid: StudyTables, forks: StudyTables
) -> None:
    figures = drawn(name, plain) or drawn(name, grid) or drawn(name, forks)
    assert figures, f"{name} applies to no synthetic study"
    for figure in figures:
        assert figure.name.startswith(name.split("_")[0])
        assert figure.caption.endswith(".")
        assert 0 < len(figure.data) <= CHART_ROWS
        assert not set(figure.data.schema.dtypes()) & {pl.List, pl.Struct, pl.Object}
        assert figure.spec["config"]["axis"]
        assert json.dumps(figure.spec, allow_nan=False)
        figure.chart.to_dict()  # validates, which drawing leaves out


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_fits_a_paper_with_letters_that_can_be_read(
    name: str, plain: StudyTables, grid: StudyTables, forks: StudyTables
) -> None:
    import vl_convert

    for figure in [*drawn(name, plain), *drawn(name, grid), *(drawn(name, forks) if name == "branches" else ())]:
        for described, widest in ((figure.spec, PAGE), (figure.column, COLUMN)):
            svg = vl_convert.vegalite_to_svg(described)
            width = float(re.search(r'width="([\d.]+)"', svg)[1])  # type: ignore[index]
            sizes = [float(size) for size in re.findall(r'font-size="([\d.]+)px"', svg)]
            assert width <= (widest if "columns" in figure.spec else PAGE), (figure.name, width)
            assert min(sizes) * 72 / PPI >= 6.5, "points, on paper"


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_repeats_exactly(name: str, plain: StudyTables, grid: StudyTables) -> None:
    tables = grid if name == "phase_diagram" else plain
    one, two = ([json.dumps(spec(figure.chart)) for figure in drawn(name, tables)] for _ in range(2))
    assert one == two


@pytest.mark.parametrize("name", FIGURES)
def test_a_study_without_data_has_no_figure(name: str, empty: StudyTables) -> None:
    assert not drawn(name, empty)


@pytest.mark.parametrize("name", FIGURES)
def test_a_study_without_the_usual_events_does_not_stop_a_figure(name: str, tmp_path: Path) -> None:
    build(tmp_path, seeds=1, events={"late": {"metric": "accuracy", "split": "test_ii", "at_least": 0.8}})
    drawn(name, load_tables(tmp_path, "regimes"))


def test_the_phase_diagram_needs_two_numeric_axes(plain: StudyTables, grid: StudyTables) -> None:
    assert FIGURES["phase_diagram"](plain) is None
    names = [figure.name for figure in drawn("phase_diagram", grid)]
    assert names == ["phase_classes", "phase_accuracy", "phase_circuit"]


def test_branches_begin_where_their_source_was(forks: StudyTables) -> None:
    """Sources are drawn once a seed and end at the fork, arms begin there, and the answer of one falls to half."""
    (figure,) = drawn("branches", forks)
    rows = figure.data.filter(pl.col("event") == "generalised")
    before, arms = (rows.filter(pl.col("line") == line) for line in ("before", "seed"))
    assert before.group_by("seed").agg(pl.max("step"))["step"].to_list() == [1500] * 3
    assert before.height == before.select("seed", "step").n_unique()
    assert (arms["step"].min(), arms["step"].max()) == (1500, 2500)
    last = rows.filter((pl.col("line") == "median") & (pl.col("step") == 2500)).sort("regime")["value"]
    assert last[1] == pytest.approx(last[0] / 2, abs=0.05)


def test_a_boundary_is_drawn_between_the_runs_that_came_and_those_that_did_not(grid: StudyTables) -> None:
    """In shared blocks runs answer from a phi above 3.6 on, at either weight decay; in untied ones none does."""
    answered = next(figure for figure in drawn("boundary", grid) if figure.name == "boundary_generalised").data
    runs = answered.filter(pl.col("kind") != "critical")
    assert len(runs) == grid.results.collect().height
    came = runs.filter(pl.col("kind") == "yes")
    assert set(came["at"]) == {7.2}
    assert all("shared" in place for place in came["place"])
    critical = answered.filter(pl.col("kind") == "critical")
    assert set(critical["place"]) == set(came["place"])
    assert critical["at"].is_between(3.6, 7.2).all()
    assert (critical["low"] < critical["at"]).all()
    assert (critical["at"] < critical["high"]).all()


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([], []),
        ([0], []),
        ([300, 0, 100], [100, 300]),
        (range(0, 10_001, 100), [100, 200, 400, 500, 800, 1200, 1900, 2800, 4300, 6600, 10_000]),
    ],
)
def test_sites_are_shown_at_a_dozen_steps(steps: Sequence[int], expected: list[int]) -> None:
    assert snapshots(list(steps)) == expected


def test_sites_over_training_end_where_the_final_ones_are(plain: StudyTables) -> None:
    over = {figure.name: figure.data for figure in drawn("sites_over_training", plain)}
    final = {figure.name: figure.data for figure in drawn("layer_position", plain)}
    site = ["regime", "layer", "position"]
    for name, data in over.items():
        ended = final[name.replace("sites", "layer_position")]
        both = data.filter(pl.col("step") == STEPS).join(ended, on=site, how="full", suffix="_final")
        assert both["value"].to_list() == pytest.approx(both["value_final"].to_list(), abs=0.001)
        assert 2 < data["step"].n_unique() <= SNAPSHOTS
    assert over


def test_a_tile_is_divided_by_the_share_of_each_class(tmp_path: Path) -> None:
    def ended(circuit_at: float | None, answer_at: float | None) -> Regime:
        return Regime(float(bool(answer_at)), answer_at or 900, float(bool(circuit_at)), circuit_at or 900)

    never, circuit_leads = ended(None, None), ended(300, 900)
    tiles: dict[tuple[float, float], list[Regime]] = {
        (1.0, 0.1): [never, never],
        (1.0, 0.2): [circuit_leads, never, ended(300, None), circuit_leads],
        (2.0, 0.1): [],
        (2.0, 0.2): [ended(None, 300)],
    }
    rows: list[dict[str, Any]] = []
    for (phi, decay), regimes_of in tiles.items():
        for seed, regime in enumerate(regimes_of or [never]):
            write_run(tmp_path, run_id(len(rows)), regime, seed)
            row = trial_row("s", len(rows), STEPS, seed, state="done" if regimes_of else "missing")
            rows.append({**row, "data.phi": phi, "optim.weight_decay": decay})
    write_study(tmp_path, "s", rows, axes=["data.phi", "optim.weight_decay"])
    found = drawn("phase_diagram", load_tables(tmp_path, "s"))[0].data
    assert found.select("x", "y", "kind", "n", "begin", "end").rows() == [
        (1.0, 0.1, "neither", 2, 0.0, 1.0),
        (1.0, 0.2, "circuit_first", 4, 0.0, 0.5),
        (1.0, 0.2, "latent", 4, 0.5, 0.75),
        (1.0, 0.2, "neither", 4, 0.75, 1.0),
        (2.0, 0.2, "fake", 1, 1.0, 2.0),
    ]


def test_a_value_that_is_not_set_has_a_column_of_tiles(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = []
    for clip, decay in itertools.product((None, 0.5, 1.0), (0.1, 0.2)):
        write_run(tmp_path, run_id(len(rows)), REGIMES["both_hops"], 0)
        rows.append({**trial_row("s", len(rows), STEPS, 0), "optim.clip": clip, "optim.weight_decay": decay})
    write_study(tmp_path, "s", rows, axes=["optim.clip", "optim.weight_decay"])
    figures = drawn("phase_diagram", load_tables(tmp_path, "s"))
    classes = figures[0]
    assert classes.data["x"].to_list() == [None, None, 0.5, 0.5, 1.0, 1.0]
    assert classes.data["begin"].to_list() == [0, 0, 1, 1, 2, 2]
    assert "['none', '0.5', '1'][floor(datum.value)]" in set(strings(classes.spec))
    assert [len(pictures(figure, "")) for figure in figures] == [5, 5, 5]


def test_regimes_have_one_colour_each_in_all_figures(plain: StudyTables) -> None:
    known = regimes(plain)
    scale = colour(known).to_dict()["scale"]
    assert scale == {"domain": list(REGIMES), "range": list(PALETTE[:4])}
    for figure in draw(plain):
        text = json.dumps(spec(figure.chart))
        if '"field": "regime"' in text and '"color"' in text and "layer_position" not in figure.name:
            assert json.dumps(scale["domain"]) in text


def test_many_groups_are_coloured_by_the_axis_of_words(grid: StudyTables) -> None:
    known = regimes(grid)
    assert known["group"].n_unique() == 12
    assert known["regime"].unique(maintain_order=True).to_list() == ["shared", "untied"]


def test_axes_have_titles_with_units(plain: StudyTables) -> None:
    texts = set(strings(spec(drawn("curves", plain)[0].chart)))
    assert "training step (log scale)" in texts
    assert "accuracy on train_ii, atomic_id >= 0.95 for 3 evaluations" in texts
    assert "circuit: bridge hit on test_oo" in set(strings(spec(drawn("decoupling_plane", plain)[0].chart)))


def test_censored_runs_are_marked(plain: StudyTables) -> None:
    text = json.dumps(spec(drawn("curves", plain)[0].chart))
    assert text.count('"state": "censored"') == 12
    assert drawn("curves", plain)[0].data.filter(pl.col("line") == "censored").height == 12
    assert drawn("survival", plain)[0].data.filter(pl.col("kind") == "censored")["runs"].sum() == 12
    lead = drawn("lead", plain)[0].data
    assert dict(lead.group_by("kind").len().rows()) == {"neither": 3, "latent": 3, "fake": 3, "answer_first": 3}
    marks = dict(lead.filter(pl.col("at").is_not_null()).select("kind", "mark").unique().rows())
    assert marks == {"latent": "at_least", "fake": "at_most", "answer_first": "lead"}


def test_the_lead_curve_has_medians_of_regimes_lines_of_runs_and_bounds(plain: StudyTables) -> None:
    data = drawn("lead_curve", plain)[0].data
    assert data.filter(pl.col("regime") == "first_hop")["mark"].unique().to_list() == ["at_least"]
    both = data.filter((pl.col("regime") == "both_hops") & (pl.col("scale") == "of_ceiling"))
    assert both.filter(pl.col("mark") == "run").height == 3 * both.filter(pl.col("mark") == "median").height == 21
    assert (both["at"] < 0).all()


def test_an_event_that_is_there_from_the_start_stands_on_the_axis(tmp_path: Path) -> None:
    events = {"early": {"metric": "accuracy", "split": "train_ii", "at_least": 0.0}}
    (curves,) = drawn("curves", load_tables(build(tmp_path, seeds=1, events=events), "regimes"))
    tables = spec(curves.chart)["datasets"].values()
    reached = [row["step"] for rows in tables for row in rows if row.get("state") == "observed"]
    assert reached == [100.0] * len(REGIMES)


def test_lines_are_thinned_evenly_in_log_step() -> None:
    rows = pl.DataFrame({"line": ["a"] * 5000, "step": range(5000)})
    kept = thin(rows, ["line"], 1)
    assert len(kept) <= LINE_POINTS
    assert {1, 2, 3, 4999} <= set(kept["step"])
    assert len(thin(rows, ["line"], 10_000)) <= 30


def test_a_study_of_one_run_can_be_drawn(tmp_path: Path) -> None:
    write_run(tmp_path, run_id(0), REGIMES["both_hops"], seed=0)
    write_study(tmp_path, "s", [trial_row("s", 0, 3000, 0)], axes=[])
    names = [figure.name for figure in draw(load_tables(tmp_path, "s"))]
    assert names[:5] == ["decoupling_plane", "curves", "lead", "lead_curve", "survival"]
