"""MLflow's own pages, as a person opens them: runs under their study, six of them compared, curves by step."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from mlflow import MlflowClient
from servers import mlflow_server
from synthetic import REGIMES, build_tracked, run_id

from grokstudy.orchestrator.commands.mlflow import sync_study
from grokstudy.orchestrator.tracking.mlflow_sync import Synced
from grokstudy.trainables.storage.store import Store

pytestmark = pytest.mark.slow
PATIENCE_MS = 90_000


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, dict[str, str]]]:
    """A server over a study's own mlflow.db: its address, the experiment, and MLflow's id of each of our keys."""
    root = build_tracked(tmp_path_factory.mktemp("served"), seeds=2)
    synced = sync_study(Store(root), "regimes")[0]
    client = MlflowClient(synced.uri)
    experiment = client.get_experiment_by_name("grokstudy").experiment_id
    runs = {run.data.tags["grokstudy.key"]: run.info.run_id for run in client.search_runs([experiment])}
    assert synced.page.startswith(f"#/experiments/{experiment}/")
    with mlflow_server(root, synced.uri) as address:
        yield address.uri, experiment, runs


@pytest.fixture
def tab(browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1500, "height": 1300})
    yield context.new_page()
    context.close()


def clear(tab: Any) -> None:
    """Close the panel beside the page."""
    panel = tab.get_by_role("button", name="Close", exact=True)
    if panel.count():
        panel.first.click()


def six(runs: dict[str, str]) -> list[str]:
    return [runs[f"regimes/{run_id(number)}"] for number in range(6)]


def test_runs_are_listed_under_their_study(tab: Any, served: tuple[str, str, dict[str, str]], shots: Path) -> None:
    address, experiment, _ = served
    tab.goto(f"{address}/#/experiments/{experiment}/runs")
    tab.get_by_text("regimes", exact=True).first.wait_for(timeout=PATIENCE_MS)
    clear(tab)
    assert not tab.get_by_text("seed 0 natural").count()
    tab.locator("[role=gridcell]", has_text="regimes").locator("button").first.click()
    tab.get_by_text("seed 0 natural").first.wait_for(timeout=PATIENCE_MS)
    tab.screenshot(path=shots / "mlflow_runs.png")
    for regime in REGIMES:
        assert tab.get_by_text(f"seed 0 {regime}").count()


def test_the_page_that_run_names_is_of_model_training(
    tab: Any, served: tuple[str, str, dict[str, str]], shots: Path
) -> None:
    """A browser that was never there is in MLflow's other mode, whatever kind the experiment is of."""
    address, experiment, _ = served
    page = Synced("", 0, 0, 0, experiment=experiment).page
    tab.goto(f"{address}/{page}")
    tab.get_by_text("regimes", exact=True).first.wait_for(timeout=PATIENCE_MS)
    clear(tab)
    tab.screenshot(path=shots / "mlflow_mode.png")
    assert tab.get_by_text("Model registry").count()
    assert not tab.get_by_text("Judges").count()


def test_six_runs_can_be_compared(tab: Any, served: tuple[str, str, dict[str, str]], shots: Path) -> None:
    address, experiment, runs = served
    asked = f"runs={quote(json.dumps(six(runs)))}&experiments={quote(json.dumps([experiment]))}"
    tab.goto(f"{address}/#/compare-runs?{asked}")
    tab.get_by_text("Comparing 6 Runs").first.wait_for(timeout=PATIENCE_MS)
    tab.get_by_text("Parallel Coordinates Plot").first.wait_for(timeout=PATIENCE_MS)
    clear(tab)
    tab.locator(".js-plotly-plot, svg.main-svg").first.wait_for(timeout=PATIENCE_MS)
    tab.screenshot(path=shots / "mlflow_compare.png", full_page=True)
    page = tab.inner_text("body")
    axes = tab.locator(".js-plotly-plot .axis-title").all_text_contents()
    assert axes == ["data.exposure", "seed", "accuracy/atomic_id"], "what differs between them, in MLflow's own order"
    assert "seed 0 natural" in page
    assert "accuracy/test_oo" in page


def test_curves_are_drawn_by_step(tab: Any, served: tuple[str, str, dict[str, str]], shots: Path) -> None:
    address, experiment, runs = served
    plot = f"plot_metric_keys={quote(json.dumps(['accuracy/test_oo']))}&x_axis=step"
    asked = f"runs={quote(json.dumps(six(runs)))}&experiments={quote(json.dumps([experiment]))}"
    tab.goto(f"{address}/#/metric?{asked}&metric={quote(json.dumps('accuracy/test_oo'))}&{plot}")
    tab.locator("svg.main-svg .scatterlayer .trace").first.wait_for(timeout=PATIENCE_MS)
    clear(tab)
    tab.screenshot(path=shots / "mlflow_curves.png")
    assert tab.locator("svg.main-svg .scatterlayer .trace").count() >= 6
