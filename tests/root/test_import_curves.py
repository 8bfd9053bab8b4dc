"""Published curves become a study, and its answer is the published one."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from grokstudy.analysis import load
from grokstudy.orchestrator.cli import app
from grokstudy.orchestrator.root.curve_file import CurveColumn, External
from grokstudy.orchestrator.root.import_curves import import_external
from grokstudy.trainables.events import Event
from grokstudy.trainables.measurements import NO_SHARES, is_share, measurements
from grokstudy.trainables.storage.store import Store

CSV = Path(__file__).parents[1] / "data" / "published_pretraining_curves.csv"
CURVES = (
    CurveColumn("train_accuracy", "accuracy", "train_ii"),
    CurveColumn("ood_bridge_rate", "bridge_hit_any", "test_oo"),
    CurveColumn("ood_answer_rate", "answer_hit_any", "test_oo"),
)
EVENTS = (
    "memorised=accuracy/train_ii>=0.95",
    "generalised=answer_hit_any/test_oo>=0.5",
    "circuit=bridge_hit_any/test_oo>=0.9",
    "kept=bridge_hit_any/test_oo>=0.9:3:stable",
)
SPACING = 7_500


def test_published_curves_are_a_study_with_the_published_answer(store: Store) -> None:
    source = External(CSV, "regime", "step", CURVES)
    assert import_external(store, "published", source, dict(map(Event.parse, EVENTS))) == 4
    assert import_external(store, "published", source, dict(map(Event.parse, EVENTS))) == 4
    tables = load(store.uri, "published")
    assert tables.warnings == []
    found = {(row["curve"], row["event"]): row["time"] for row in tables.events.collect().to_dicts()}
    expected = {
        ("natural", "circuit"): 311_000, ("natural", "generalised"): 396_000,
        ("both_hops", "generalised"): 37_000, ("both_hops", "circuit"): 60_000, ("both_hops", "kept"): 172_000,
        ("first_hop", "circuit"): 73_000, ("first_hop", "generalised"): 744_000,
        ("second_hop", "generalised"): 291_000,
    }  # fmt: skip
    for key, time in expected.items():
        assert found[key] == pytest.approx(time, abs=SPACING), key
    assert found["second_hop", "circuit"] is None
    assert tables.evals.select("n", "loss").collect().null_count().row(0) == (850, 850)


@pytest.mark.parametrize(
    ("text", "fragment"),
    [("a", "is not COLUMN=METRIC/SPLIT"), ("a=accuracy/test_xx", "split 'test_xx' is unknown; known: train_ii")],
)
def test_a_bad_mapping_says_what_is_allowed(text: str, fragment: str) -> None:
    with pytest.raises(ValueError, match=fragment):
        CurveColumn.parse(text)


@pytest.mark.parametrize("text", ["circuit", "circuit=cqsp>=0.5", "circuit=cqsp/test_oo>0.5", "c=cqsp/test_oo>=x"])
def test_a_bad_event_says_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match="is not NAME=METRIC/SPLIT>=VALUE"):
        Event.parse(text)


def test_an_event_of_what_no_column_is_says_what_there_is(store: Store) -> None:
    source = External(CSV, "regime", "step", CURVES)
    told = "--event late: no column is cqsp/test_oo; there are accuracy/train_ii, bridge_hit_any/test_oo, "
    with pytest.raises(ValueError, match=told):
        import_external(store, "published", source, dict([Event.parse("late=cqsp/test_oo>=0.5")]))
    assert not store.exists("")


def test_a_file_is_read_once_so_that_it_can_be_a_pipe(store: Store, tmp_path: Path) -> None:
    pipe, text = tmp_path / "pipe.csv", HEAD + "a,0,0.5,,0,t,9\n"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(pipe.write_text, text)
        assert import_external(store, "x", source(pipe), {}) == 1
    assert load(store.uri, "x").evals.collect()["accuracy"].to_list() == [0.5]


def test_missing_values_leave_no_row_and_bad_columns_are_named(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text("run,step,a,b\nx,0,0.1,word\nx,10,,word\n")
    import_external(store, "few", External(path, "run", "step", (CurveColumn("a", "accuracy", "test_oo"),)), {})
    assert load(store.uri, "few").evals.collect()["step"].to_list() == [0]
    with pytest.raises(ValueError, match="there is no column 'c'; columns: run, step, a, b"):
        External(path, "run", "step", (CurveColumn("c", "accuracy", "test_oo"),)).read()
    with pytest.raises(ValueError, match="row 2: column 'b' holds 'word'; allowed: a share"):
        External(path, "run", "step", (CurveColumn("b", "accuracy", "test_oo"),)).read()


HEAD = "trial,step,acc,loss,seed,split,k\n"
WRONG = {
    "a,0,0.5,,0,t,9\na,10,0.6,,0,t,9\na,10,0.7,,0,t,9\n":
        "row 4: trial 'a' has step 10 already, in row 3; allowed: one row for both; remove one of them",
    "a,0,0.5,,0,t,9\na,0,0.6,,1,u,9\n":
        "row 3: .* they differ in seed, split: choose by --where \"seed = 0\" or --trial trial,seed$",
    "a,0,inf,,0,t,9\n": "row 2: column 'acc' holds 'inf'; allowed: a share from 0 to 1, for accuracy; divide percents",
    "a,0,nan,,0,t,9\n": "row 2: column 'acc' holds 'nan'; .*; leave the cell empty where the value is missing",
    "a,0,NA,,0,t,9\n": "row 2: column 'acc' holds 'NA'",
    "a,0,95%,,0,t,9\n": "row 2: column 'acc' holds '95%'",
    "a,0,1,,0,t,9\na,1,95,,0,t,9\n": "row 3: column 'acc' holds '95'",
    "a,0,-0.1,,0,t,9\n": "row 2: column 'acc' holds '-0.1'",
    "a,0,,1,0,t,9\n": "row 2: column 'acc' holds nothing; allowed: an accuracy, since 'loss' has a value here",
    "a,0,0.5,1e39,0,t,9\n": "row 2: column 'loss' holds '1e39'; allowed: a finite number",
    "a,-1,0.5,,0,t,9\n": "row 2: column 'step' holds '-1'; allowed: a whole number from 0 to 999,999,999",
    "a,1.5,0.5,,0,t,9\n": "row 2: column 'step' holds '1.5'",
    "a,1000000000,0.5,,0,t,9\n": "row 2: column 'step' holds '1000000000'",
    "a,,0.5,,0,t,9\n": "row 2: column 'step' holds nothing",
    ",0,0.5,,0,t,9\n": "row 2: column 'trial' holds nothing; allowed: the name of a trial",
    "  ,0,0.5,,0,t,9\n": "row 2: column 'trial' holds '  '",
    "a,0,0.5,,0,t,0\n": "row 2: column 'k' holds '0'; allowed: a whole number from 1",
    "a,0,0.5\n": "row 2: has 3 cells, the heading has 7",
    'a,0,0.5,,0,"t,9\n': "row 2: is no CSV",
    "a\0,0,0.5,,0,t,9\n": "row 2: holds a NUL byte",
    "": "no row: a heading and one row per trial and step are needed",
}  # fmt: skip
"""Rows of a file, and what is said of them."""


def put(folder: Path, text: str | bytes) -> Path:
    path = folder / "c.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def source(path: Path, **more: Any) -> External:
    known = {"trial": "trial", "step": "step", "curves": tuple(map(CurveColumn.parse, MAPPED)), "n": "k"}
    return External(path, **{**known, **more})


MAPPED = ("acc=accuracy/test_oo", "loss=loss/test_oo")


@pytest.mark.parametrize("lines", WRONG)
def test_a_wrong_cell_ends_the_command_with_file_row_and_what_is_allowed(tmp_path: Path, lines: str) -> None:
    path, root = put(tmp_path, HEAD + lines), tmp_path / "root"
    mapped = [word for text in MAPPED for word in ("--mapping", text)]
    words = [str(path), "--name", "x", *mapped, "--n", "k", "--event", EVENTS[0], "--root", str(root)]
    done = CliRunner().invoke(app, ["import-curves", *words])
    assert done.exit_code == 2, done.output
    assert re.match(rf"{re.escape(str(path))}: {WRONG[lines]}", done.stderr.strip()), done.stderr
    assert not root.exists()


def test_what_is_no_utf8_is_named_and_a_mark_of_utf8_is_fine(store: Store, tmp_path: Path) -> None:
    text = HEAD + "é,0,0.5,,0,t,9\n"
    with pytest.raises(ValueError, match="row 2: byte 0xe9 is no UTF-8; save the file as UTF-8"):
        source(put(tmp_path, text.encode("latin-1"))).read()
    with pytest.raises(ValueError, match="row 1: byte 0xff is no UTF-8"):
        source(put(tmp_path, text.encode("utf-16"))).read()
    assert source(put(tmp_path, text.encode("utf-8-sig"))).read()[0].trial == ("é",)


def test_trials_are_text(store: Store, tmp_path: Path) -> None:
    path = put(tmp_path, HEAD + "01,0,0.5,,0,t,9\n1,0,0.5,,0,t,9\n1.0,0,0.5,,0,t,\n")
    assert import_external(store, "x", source(path), {}) == 3
    tables = load(store.uri, "x")
    assert sorted(tables.trials.collect()["curve"]) == ["01", "1", "1.0"]
    assert sorted(tables.evals.collect()["n"].to_list(), key=str) == [9, 9, None]


def test_a_long_table_is_told_apart_and_chosen_from(store: Store, tmp_path: Path) -> None:
    lines = [f"{trial},{step},0.5,2,{seed},{split},9\n" for trial in "ab" for step in (0, 5) for seed in (0, 1)
             for split in ("t", "u")]  # fmt: skip
    path = put(tmp_path, HEAD + "".join(lines))
    asked = source(path, trial="trial,split", where="seed = 1 AND step < 5")
    assert import_external(store, "x", asked, {}) == 4
    tables = load(store.uri, "x")
    assert tables.axes == ["curve.trial", "curve.split"]
    assert sorted(tables.trials.collect().select(tables.axes).rows()) == [(a, b) for a in "ab" for b in "tu"]
    assert tables.evals.collect().select("step", "accuracy", "loss").unique().rows() == [(0, 0.5, 2.0)]
    for condition, fragment in {"seed = 9": "holds for none of the 16 rows", "sead = 1": "is not a condition"}.items():
        with pytest.raises(ValueError, match=f"c.csv: --where.*{fragment}"):
            source(path, where=condition).read()


def test_two_readings_of_a_file_do_not_mix(store: Store, tmp_path: Path) -> None:
    path = put(tmp_path, HEAD + "a,0,0.5,,0,t,9\na,0,0.75,,1,t,9\n")
    for seed in (0, 1):
        import_external(store, f"x{seed}", source(path, where=f"seed = {seed}"), {})
    values = [load(store.uri, f"x{seed}").evals.collect()["accuracy"].to_list() for seed in (0, 1)]
    assert values == [[0.5], [0.75]]


@pytest.mark.parametrize("name", ["trained", "../x", "A b"])
def test_a_trained_study_is_not_replaced_and_a_name_is_one(store: Store, tmp_path: Path, name: str) -> None:
    store.write_json("studies/trained/study.json", {"spec_hash": "1"})
    with pytest.raises(ValueError, match=r"that was trained|is no name of a study"):
        import_external(store, name, source(put(tmp_path, HEAD + "a,0,0.5,,0,t,9\n")), {})
    assert store.list("", recursive=True) == ["studies", "studies/trained", "studies/trained/study.json"]


@pytest.mark.parametrize(
    ("mapped", "fragment"),
    [
        (("acc=accuracy/test_oo", "loss=accuracy/test_oo"), "given by two columns"),
        (("loss=loss/test_oo",), "needs the accuracy of the same rows; add COLUMN=accuracy/test_oo"),
        (("trial=cqsp/test_oo",), "tells the curves apart"),
        (("nope=cqsp/test_oo",), "there is no column 'nope'; columns: trial, step"),
    ],
)
def test_a_wrong_mapping_is_named(tmp_path: Path, mapped: tuple[str, ...], fragment: str) -> None:
    with pytest.raises(ValueError, match=fragment):
        source(put(tmp_path, HEAD + "a,0,0.5,,0,t,9\n"), curves=tuple(map(CurveColumn.parse, mapped))).read()


def test_every_measurement_is_a_share_or_is_known_to_be_none() -> None:
    assert set(NO_SHARES) <= set(measurements())
    shares = {name for name in measurements() if is_share(name)}
    assert shares == set(measurements()) - set(NO_SHARES)
    assert {"cqsp", "hop1_writer", "circuit_strength", "lens_r2_prob", "bridge_hit_any"} <= shares
    assert all(map(is_share, ("accuracy", "answer_hit_any", "some_rate")))
    assert not any(map(is_share, ("loss", "margin", "white", "prefix_ld", "separation", "site_depth")))


NUMBERS = st.one_of(
    st.text(max_size=6), st.floats().map(str), st.integers().map(str),
    st.sampled_from(["", " ", "1_0", "٣", "0x1", "1e400", "-0", "+1", "1.", ".5", "1e0", "NaN", "Infinity", "1,5"]),
)  # fmt: skip


@given(cells=st.lists(st.tuples(st.text(max_size=3), NUMBERS, NUMBERS), min_size=1, max_size=4))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_cells_are_read_as_they_stand_or_named(tmp_path: Path, cells: list[tuple[str, str, str]]) -> None:
    buffer = io.StringIO()
    csv.writer(buffer).writerows([("trial", "step", "acc"), *cells])
    path = put(tmp_path, buffer.getvalue().encode(errors="replace"))
    try:
        points = source(path, curves=(CurveColumn.parse(MAPPED[0]),), n=None).read()
    except ValueError as error:
        said = str(error)
        points = []
    if not points:
        assert re.match(rf"{re.escape(str(path))}: (row \d+|no row): ", said)
        return
    assert len(points) == len(cells)
    for point, (trial, step, accuracy) in zip(points, cells, strict=True):
        assert point.trial == (trial,)
        assert trial.strip()
        assert point.step == float(step) >= 0
        assert point.values["acc"] == (float(accuracy) if accuracy.strip() else None)
        assert point.values["acc"] is None or 0 <= point.values["acc"] <= 1


@given(content=st.binary(max_size=60))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_read_or_named(tmp_path: Path, content: bytes) -> None:
    with contextlib.suppress(ValueError):
        source(put(tmp_path, HEAD.encode() + content)).read()
