"""Errors in one line, and options by dotted name and by section."""

from __future__ import annotations

import unicodedata
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grokstudy.trainables.messages import first_line, one_line, printable, shown, warn_in_words
from grokstudy.trainables.options import flat, nested
from grokstudy.trainables.storage import checkpoint


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("\n first \n second"), "first "),
        (KeyError(), "KeyError"),
        (ValueError(" \n"), "ValueError"),
        (ValueError("x" * 300), "x" * 200),
    ],
)
def test_an_error_is_told_in_one_line(error: BaseException, line: str) -> None:
    assert first_line(error) == line


def test_a_warning_of_ours_is_a_line_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    warn_in_words()
    text = UserWarning("part-0 \x1b is torn: training again from 0")
    ours = warnings.formatwarning(text, UserWarning, checkpoint.__file__, 3)
    assert ours == "warning: part-0 \\x1b is torn: training again from 0\n"
    for category, place in ((UserWarning, torch.__file__), (DeprecationWarning, checkpoint.__file__)):
        assert warnings.formatwarning(text, category, place, 3).startswith(f"{place}:3: {category.__name__}: ")


def test_a_value_is_shown_as_in_a_file() -> None:
    assert [shown(value) for value in (None, True, 1.5, "a", [1], {"a": 1})] == [
        "null", "true", "1.5", "'a'", "a list", "a mapping",
    ]  # fmt: skip
    assert shown("a" * 100) == "'" + "a" * 56 + "..."


def test_dotted_names_and_sections_are_each_others_inverse() -> None:
    options = {"data.phi": 4.0, "numerics": 1, "model.layers": 2, "data.entities": 60}
    assert nested(options) == {"data": {"phi": 4.0, "entities": 60}, "numerics": 1, "model": {"layers": 2}}
    assert flat(nested(options)) == options


@given(st.text())
def test_printable_text_steers_no_terminal(text: str) -> None:
    shown = printable(text)
    assert not [character for character in shown if unicodedata.category(character) == "Cc" and character not in "\n\t"]
    shown.encode()
    assert printable(shown) == shown
    assert not {*"\n\t"} & {*one_line(text)}


def test_a_control_character_is_shown_by_its_number() -> None:
    assert printable("\x1b[31mred\x9b\ud800\r\n\tplain\x00") == "\\x1b[31mred\\x9b\\ud800\\x0d\n\tplain\\x00"
    assert one_line("a\nb\tc") == "a\\nb\\tc"
