"""`--set`: an option of base from the command line, in the study's text as in its runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from grokstudy.orchestrator.study.errors import StudyError
from grokstudy.orchestrator.study.load import load_study

TEXT = """\
hypothesis: One. # said
base:
  train: {steps: 100}
space:
  data.exposure: [natural, both_hops]
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "s.yaml"
    path.write_text(TEXT)
    return path


def test_options_are_replaced_and_added(path: Path) -> None:
    study = load_study(path, ["train.batch=512", "train.steps=50", "eval.probes=[logit_lens]"])
    assert study.settings["train.batch"] == 512
    assert study.settings["train.steps"] == 50
    assert tuple(study.settings["eval.probes"]) == ("logit_lens",)


def test_the_text_says_the_same_as_the_study(path: Path, tmp_path: Path) -> None:
    study = load_study(path, ["train.batch=512"])
    assert study.text.startswith("# with --set train.batch=512\n")
    again = tmp_path / "again" / "s.yaml"
    again.parent.mkdir()
    again.write_text(study.text)
    assert load_study(again).settings == study.settings
    assert load_study(path).text == TEXT, "without a setting the text stays as it is written, comments and all"


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("train.bach=512", "train.bach is unknown; did you mean 'train.batch'?"),
        ("train.batch=0", "0 is not possible; it must be at least 1"),
        ("train.batch=much", "must be a whole number, not 'much'"),
        ("train.batch", "write an option with its section and a value"),
        ("data.exposure=natural", "data.exposure is an axis of the study: change it under space in the file"),
        ("zzzz=1", "more)"),
    ],
)
def test_mistakes_are_told_with_the_setting(path: Path, setting: str, said: str) -> None:
    with pytest.raises(StudyError) as caught:
        load_study(path, [setting])
    assert said in str(caught.value)
    assert f"--set {setting}" in str(caught.value)
    assert len(str(caught.value)) < 400, "a long list of known words is cut to the nearest"
