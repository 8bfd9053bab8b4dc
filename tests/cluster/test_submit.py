"""`submit` before it meets a cluster: what it refuses, what it packs, how jobs are numbered."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from grokstudy.orchestrator.cli import app
from grokstudy.orchestrator.cluster.jobs import ClusterError, Job, _explained, next_id
from grokstudy.orchestrator.cluster.package import MOST_BYTES, pack
from grokstudy.orchestrator.cluster.tunnel import tunnel
from grokstudy.orchestrator.study.load import load_study

QUICKSTART = Path(__file__).resolve().parents[2] / "studies/quickstart.yaml"


def job(job_id: str, status: str) -> Job:
    return Job(job_id, status, "s", "", None)


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ([], "s-1"),
        ([job("s-1", "RUNNING")], "s-1"),
        ([job("s-1", "STOPPED")], "s-1.2"),
        ([job("s-1", "STOPPED"), job("s-1.2", "PENDING")], "s-1.2"),
        ([job("s-1", "FAILED"), job("s-1.2", "SUCCEEDED")], "s-1.3"),
        ([job("s-12", "RUNNING"), job("s-2", "STOPPED")], "s-1"),
    ],
)
def test_next_go_at_a_study_has_the_next_number_unless_one_is_at_it(known: list[Job], expected: str) -> None:
    assert next_id("s-1", known) == expected


def test_parcel_holds_code_and_study_only(tmp_path: Path) -> None:
    place = pack(load_study(QUICKSTART), tmp_path)
    assert place == "studies/quickstart.yaml"
    assert (tmp_path / place).read_text() == QUICKSTART.read_text()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.relative_to(tmp_path).parts[0] for path in files} == {"grokstudy", "studies"}
    code = {path.relative_to(tmp_path).parts[1] for path in files if path.suffix == ".py"}
    assert {"orchestrator", "trainables", "analysis"} <= code
    assert not [path for path in files if path.suffix == ".pyc"]
    assert sum(path.stat().st_size for path in files) < MOST_BYTES


def said(*words: str, **environment: str) -> str:
    done = CliRunner(env={"GROKSTUDY_ROOT": "", "RAY_API_SERVER_ADDRESS": "", **environment}).invoke(app, list(words))
    assert done.exit_code == 2, done.output
    return done.stderr.strip()


def test_a_root_of_this_machine_is_refused() -> None:
    message = said("submit", str(QUICKSTART), "--address", "http://127.0.0.1:1", "--root", "results")
    assert message.startswith("--root results is a folder of this machine")


def test_a_cluster_must_be_named_and_its_file_be_there(tmp_path: Path) -> None:
    assert said("submit", str(QUICKSTART), "--root", "/shared").startswith("which cluster?")
    missing = tmp_path / "none.yaml"
    assert "no such file" in said("cancel", str(QUICKSTART), "--cluster", str(missing))


def test_nobody_at_the_address_is_one_line() -> None:
    message = said("submit", str(QUICKSTART), "--root", "/shared", "--address", "http://127.0.0.1:1")
    assert message == (
        "no Ray cluster answers at http://127.0.0.1:1; is it up, and is this the address of its dashboard?"
    )


@pytest.mark.parametrize("address", ["auto", "local", "ray://127.0.0.1:10001", "127.0.0.1:6379", "head", "http://", ""])
@pytest.mark.parametrize("command", [("submit", "--root", "/shared"), ("cancel",)])
def test_what_is_no_address_of_a_dashboard_is_told_before_ray_waits_for_it(
    command: tuple[str, ...], address: str
) -> None:
    message = said(*command, str(QUICKSTART), "--address", address)
    assert message.startswith(f"{address!r} is no address of a dashboard; write it as http://HOST:8265")


def test_paragraphs_of_ray_become_one_line_without_the_token() -> None:
    for text in ("Authentication required: x\n\nhow to", "Authentication failed: Bearer abc\n\nhow to", "a\nb\n"):
        line = _explained("http://x", RuntimeError(text))
        assert "\n" not in line
        assert "abc" not in line


def test_tunnel_to_a_file_that_is_no_cluster_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("cluster_name: x\n")
    with pytest.raises(ClusterError) as raised, tunnel(path):
        pass
    assert "\n" not in str(raised.value)
