"""Broken code from outside, and studies that name it wrongly: each is told at its place, and nothing is created."""

from __future__ import annotations

from pathlib import Path

import pytest
from own_code import FIGURE, PROBE, SEARCHER, TASK, put

from grokstudy.orchestrator.study.errors import StudyError
from grokstudy.orchestrator.study.load import load_study

Case = tuple[str, dict[str, str], int, int, str, str]
"""Study, files by stem, then line, column, key and a part of the message that is expected."""

OPTIONS = TASK.replace("class Options(TwoHopOptions):", "class Options(TwoHopOptions):\n    {option}\n")


def task(**files: str) -> tuple[str, dict[str, str], int, int, str]:
    return "base:\n  task: ./parity.py:Parity\n", files, 2, 9, "base.task"


def probe(text: str) -> tuple[str, dict[str, str], int, int, str]:
    return 'base: {eval: {probes: ["./my_probe.py:probe"]}}\n', {"my_probe": text}, 1, 24, "base.eval.probes[0]"


def searcher(text: str) -> tuple[str, dict[str, str], int, int, str]:
    study = 'base: {data: {phi: 2}}\nspace: {model.layers: [1, 2]}\nsearch: {kind: "./mine.py:Corners"}\n'
    return study, {"mine": text}, 3, 16, "search.kind"


def with_option(line: str) -> tuple[str, dict[str, str], int, int, str]:
    return task(parity=OPTIONS.replace("{option}", line))


def of_task(option: str) -> str:
    return f"base:\n  task: ./parity.py:Parity\n  data: {{{option}}}\n"


NAMES: dict[str, Case] = {
    "missing file": ("base: {task: ./nothing.py:Parity}\n", {}, 1, 14, "base.task", "there is no file"),
    "near a file": ("base: {task: ./party.py:Parity}\n", {}, 1, 14, "base.task", "did you mean parity.py?"),
    "no name in the file": ("base: {task: ./parity.py}\n", {}, 1, 14, "base.task", "write ./parity.py:Name"),
    "missing name": ("base: {task: ./parity.py:Party}\n", {}, 1, 14, "base.task", "did you mean 'Parity'?"),
    "absolute path": ("base: {task: /tmp/parity.py:Parity}\n", {}, 1, 14, "base.task", "path from the study's folder"),
    "home": ('base: {task: "~/parity.py:Parity"}\n', {}, 1, 14, "base.task", "path from the study's folder"),
    "above the folder": ("base: {task: ../parity.py:Parity}\n", {}, 1, 14, "base.task", "outside the study's folder"),
    "above it in a roundabout way": (
        "base: {task: ./a/../../parity.py:Parity}\n", {}, 1, 14, "base.task", "outside the study's folder",
    ),
    "hyphen": ("base: {task: ./my-task.py:Parity}\n", {}, 1, 14, "base.task", "no name that Python can import"),
    "module without a file": ("base: {task: parity:Parity}\n", {}, 1, 14, "base.task", "is unknown"),
    "not a word": ("base: {task: [./parity.py:Parity]}\n", {}, 1, 14, "base.task", "is unknown"),
    "probe in a string": (
        "base: {eval: {probes: ./my_probe.py:probe}}\n", {}, 1, 23, "base.eval.probes", "list of words",
    ),
    "same probe twice": (
        'base: {eval: {probes: ["./my_probe.py:probe", "my_probe.py:probe"]}}\n', {}, 1, 23, "base.eval.probes",
        "same thing twice",
    ),
    "missing probe in an arm": (
        'space:\n  how:\n    mine: {eval.probes: ["./no.py:probe"]}\n', {}, 3, 26, "space.how.mine.eval.probes[0]",
        "there is no file",
    ),
    "figures are no list": ("figures: ./fig.py:figure\n", {}, 1, 10, "figures", "must be a list such as"),
    "figure of ours": ("figures: [curves]\n", {}, 1, 11, "figures[0]", "is drawn anyway"),
    "figure unknown": ("figures: [curvs]\n", {}, 1, 11, "figures[0]", "write ./file.py:function"),
    "figure twice": (
        'figures: ["./fig.py:figure", "./fig.py:figure"]\n', {}, 1, 30, "figures[1]", "already in the list",
    ),
    "task as probe": (
        'base: {eval: {probes: ["./parity.py:Parity"]}}\n', {}, 1, 24, "base.eval.probes[0]", "is no probe",
    ),
    "probe as task": ("base: {task: ./my_probe.py:probe}\n", {}, 1, 14, "base.task", "no subclass of Task"),
    "task as figure": ('figures: ["./parity.py:Parity"]\n', {}, 1, 11, "figures[0]", "it is a class"),
}  # fmt: skip

CODE: dict[str, Case] = {
    "syntax error": (*task(parity="class Parity\n"), "parity.py\", line 1\n    class Parity"),
    "syntax error in a helper": (*probe("import helpers\n"), "helpers.py\", line 1"),
    "import error": (*task(parity="import nothing_of_this_name\n"), "No module named 'nothing_of_this_name'"),
    "error at import": (*task(parity="x = 1\ny = x / 0\n"), "line 2, in <module>\n    y = x / 0\n"),
    "exit at import": (*task(parity="raise SystemExit(3)\n"), "SystemExit: 3"),
    "no UTF-8": (*task(parity="\udcff"), "is not UTF-8"),
    "no task": (*task(parity="Parity = 3\n"), "is no task: it is no subclass of Task"),
    "part of a task is missing": (
        *task(parity=TASK.replace("class Parity(TwoHop)", "class Parity(Task)").replace("def build", "def built")
              .replace("from grokstudy", "from grokstudy.trainables.tasks.base import Task\nfrom grokstudy", 1)),
        "its splits are no mapping",
    ),
    "options are no dataclass": (
        *task(parity=TASK.replace("    Options = Options", "    Options = int")),
        "no dataclass",
    ),
    "options can be changed": (
        *task(parity=TASK.replace("class Parity", "@dataclass\nclass Loose:\n    a: int = 1\n\n\nclass Parity")
              .replace("    Options = Options", "    Options = Loose")),
        "can be changed",
    ),
    "option without default": (*with_option("more: int"), "option more has no default"),
    "option of a strange type": (*with_option("more: list = None"), "option more is list; an option is int, float"),
    "option of an unknown type": (*with_option("more: Nothing = None"), "name 'Nothing' is not defined"),
    "default of another type": (*with_option("more: int = 'a'"), "default of option more must be a whole number"),
    "unpicklable option": (*with_option("more: str = lambda: 1"), "default of option more must be text"),
    "unknown split": (
        *task(parity=TASK.replace("    Options = Options", '    Options = Options\n    splits = {"mine": "x"}')),
        "its headline is none of its splits, mine",
    ),
    "no function": (
        *task(parity=TASK.replace("    Options = Options", "    Options = Options\n    check = 3")),
        "check is no function",
    ),
    "error in check": (
        *task(parity=TASK + "\n    @staticmethod\n    def check(options, seed):\n        return [][0]\n"),
        "in check\n    return [][0]\n",
    ),
    "error in problems": (
        *task(parity=TASK.replace("    noise:", "    def problems(self):\n        return 1 / 0\n\n    noise:")),
        "in problems\n    return 1 / 0\n",
    ),
    "undeclared probe": (*probe("def probe(scene):\n    return []\n"), "does not say what it measures"),
    "probe that is no function": (*probe("probe = 3\n"), "it is int, and should be a function"),
    "probe measures nothing": (*probe(PROBE.replace('"logit_norm", ', "", 1)), "it measures nothing"),
    "measurement of ours": (*probe(PROBE.replace("logit_norm", "iia")), "iia is measured by mediation already"),
    "measurement of every evaluation": (*probe(PROBE.replace("logit_norm", "loss")), "by every evaluation already"),
    "measurement with a bad name": (*probe(PROBE.replace("logit_norm", "Norm of it")), "is no name for a measurement"),
    "no searcher": (*searcher("class Corners:\n    pass\n"), "no subclass of Searcher"),
    "half a searcher": (*searcher(SEARCHER.replace("def preview", "def review")), "it has no preview"),
    "searcher without options": (*searcher(SEARCHER.replace("    Options =", "    Other =")), "it has no Options"),
    "error in count": (
        *searcher(SEARCHER.replace("return min(options.most, len(corners(axes)))", "return axes[7]")), "in count\n",
    ),
    "error in preview": (
        *searcher(SEARCHER.replace("return corners(self.axes)[: self.options.most]", "return self.nothing")),
        "has no attribute 'nothing'",
    ),
    "problems that are none": (
        *task(parity=TASK.replace("    noise:", "    def problems(self):\n        pass\n\n    noise:")),
        "give NoneType, and should give a list of Problem",
    ),
    "check that gives nothing": (
        *task(parity=TASK + "\n    @staticmethod\n    def check(options, seed):\n        pass\n"),
        "its check gives NoneType",
    ),
    "preview that gives nothing": (
        *searcher(SEARCHER.replace("return corners(self.axes)[: self.options.most]", "pass")),
        "its preview gives NoneType",
    ),
    "preview without numbers": (
        *searcher(SEARCHER.replace("return corners(self.axes)[: self.options.most]", "return [{}]")),
        "its preview gives {}, and should give pairs",
    ),
    "points of another space": (
        *searcher(SEARCHER.replace("return corners(self.axes)[: self.options.most]", 'return [(0, {"a": 1.0})]')),
        "which is no point of this space",
    ),
    "figure that is none": (
        'figures: ["./fig.py:figure"]\n', {"fig": "figure = 3\n"}, 1, 11, "figures[0]", "is no figure: it is int",
    ),
}  # fmt: skip

VALUES: dict[str, Case] = {
    "unknown option": (of_task("nois: 0.1"), {}, 3, 10, "base.data.nois", "did you mean base.data.noise?"),
    "wrong type": (of_task("noise: true"), {}, 3, 17, "base.data.noise", "must be a number, not true"),
    "out of bounds": (of_task("noise: 1.0"), {}, 3, 17, "base.data.noise", "at least 0 and less than 1"),
    "option of another task": (
        of_task("new_facts: 3"), {}, 3, 10, "base.data.new_facts", "is unknown; known in data",
    ),
    "axis of an unknown option": (
        "base: {task: ./parity.py:Parity}\nspace: {data.noize: [0.1]}\n", {}, 2, 9, "space.data.noize",
        "did you mean space.data.noise?",
    ),
    "unknown option of the search": (
        'base: {data: {phi: 2}}\nspace: {model.layers: [1]}\nsearch: {kind: "./mine.py:Corners", mots: 2}\n', {}, 3, 37,
        "search.mots", "did you mean 'most'?",
    ),
    "search out of bounds": (
        'base: {data: {phi: 2}}\nspace: {model.layers: [1]}\nsearch: {kind: "./mine.py:Corners", most: 0}\n', {}, 3, 43,
        "search.most", "must be at least 1",
    ),
    "event on what nobody measures": (
        "events: {large: {metric: logit_norm, split: test_oo, at_least: 1}}\n", {}, 1, 26, "events.large.metric",
        "'logit_norm' is unknown",
    ),
    "two probes of one measurement": (
        'base: {eval: {probes: ["./my_probe.py:probe", "./fig.py:probe"]}}\n', {"fig": PROBE}, 1, 47,
        "base.eval.probes[1]", "measures logit_norm, and so does ./my_probe.py:probe",
    ),
}  # fmt: skip
CASES = {**NAMES, **CODE, **VALUES}


@pytest.mark.parametrize("name", CASES)
def test_a_mistake_is_told_once_at_its_place(name: str, tmp_path: Path) -> None:
    study, files, line, column, key, fragment = CASES[name]
    path = put(tmp_path, study)
    if name == "syntax error in a helper":
        (tmp_path / "helpers.py").write_text("def broken(:\n")
    for stem, text in files.items():
        (tmp_path / f"{stem}.py").write_bytes(text.encode(errors="surrogateescape"))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StudyError) as caught:
        load_study(path)
    (mistake,) = caught.value.mistakes
    assert (mistake.line, mistake.column, mistake.key) == (line, column, key), mistake
    assert fragment in mistake.message, mistake.message
    assert "grokstudy/" not in mistake.message, "frames of ours do not help"
    assert sorted(tmp_path.rglob("*")) == before


def test_there_are_many_of_them() -> None:
    assert len(CASES) >= 25
    assert FIGURE


def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    path = put(tmp_path / "study", "base: {task: ./parity.py:Parity}\n")
    (tmp_path / "elsewhere.py").write_text(TASK)
    (tmp_path / "study" / "parity.py").unlink()
    (tmp_path / "study" / "parity.py").symlink_to(tmp_path / "elsewhere.py")
    with pytest.raises(StudyError, match=r"is a link to .*elsewhere\.py, outside"):
        load_study(path)


def test_code_that_is_a_library_is_to_be_installed(tmp_path: Path) -> None:
    path = put(tmp_path, "base: {task: ./parity.py:Parity}\n", parity=f"{TASK}\nx = '{'a' * 1_000_000}'\n")
    with pytest.raises(StudyError, match="more than 1,000,000 bytes; install them"):
        load_study(path)
