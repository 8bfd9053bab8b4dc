"""Inductor made quick: the same numbers from one file of kernels, and the same strides from plain indices."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._inductor import async_compile, sizevars
from torch._inductor.cpu_vec_isa import VecAVX2
from torch._inductor.exc import CppCompileError
from torch.utils._sympy.functions import FloorDiv

from grokstudy.trainables.training import inductor

pytestmark = [
    pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++: bash scripts/system-packages.sh"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # torch's own, while it compiles
]

ADD, DOUBLE = (
    f"""
#include <torch/csrc/inductor/cpp_prefix.h>
extern "C"  void  kernel(const float* in_ptr0, float* out_ptr0, int64_t count)
{{
    for (int64_t i = 0; i < count; ++i) out_ptr0[i] = {body};
}}
"""
    for body in ("in_ptr0[i] + 1", "2 * in_ptr0[i]")
)
ARGUMENTS = ["const float*", "float*", "int64_t"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing that was compiled before, and nothing left behind."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    return tmp_path


def compiled(*sources: str) -> list[Callable[[Tensor, Tensor, int], None]]:
    """Kernels as a program that Inductor wrote asks for them."""
    scope: dict[str, object] = {}
    with inductor.quick():
        asking = async_compile.AsyncCompile()
        for number, source in enumerate(sources):
            scope[f"kernel{number}"] = asking.cpp_pybinding(ARGUMENTS, source)
        asking.wait(scope)
    return [*scope.values()]  # type: ignore[list-item]


def result(kernel: Callable[[Tensor, Tensor, int], None]) -> list[float]:
    given, out = torch.tensor([1.0, 2.0, 3.0]), torch.zeros(3)
    kernel(given, out, 2)
    return out.tolist()


def test_each_kernel_does_its_own_work_and_all_are_in_one_file(cache: Path) -> None:
    add, double = compiled(ADD, DOUBLE)
    assert result(add) == [2.0, 3.0, 0.0]
    assert result(double) == [2.0, 4.0, 0.0]
    assert len([*cache.glob("*/*.main.so")]) == 1


def test_a_source_of_another_form_is_compiled_by_itself(cache: Path) -> None:
    helped = ADD.replace('extern "C"', 'static float one() { return 1; }\nextern "C"').replace("+ 1", "+ one()")
    add, double = compiled(helped, DOUBLE)
    assert (result(add), result(double)) == ([2.0, 3.0, 0.0], [2.0, 4.0, 0.0])
    assert len([*cache.glob("*/*.main.so")]) == 2


def test_where_they_do_not_compile_together_each_is_compiled_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inductor, "_parsed", lambda argtypes: "what another torch calls otherwise")
    add, double = compiled(ADD, DOUBLE)
    assert (result(add), result(double)) == ([2.0, 3.0, 0.0], [2.0, 4.0, 0.0])


def test_a_kernel_that_does_not_compile_is_not_passed_over() -> None:
    with pytest.raises(CppCompileError, match="unknown_name"):
        compiled(ADD.replace("+ 1", "+ unknown_name"), DOUBLE)


X, Y = sympy.symbols("x y", integer=True, nonnegative=True)
NUMBERS = st.integers(-64, 64)


@settings(deadline=None)
@given(st.lists(st.tuples(NUMBERS, st.integers(0, 2), st.integers(0, 2)), max_size=4), st.sampled_from([4, 8, 16]))
def test_a_polynomial_has_the_stride_that_inductor_finds(terms: list[tuple[int, int, int]], length: int) -> None:
    index = sympy.Add(*(number * X**a * Y**b for number, a, b in terms))
    expected = sizevars.stride_at(sizevars.simplify_index_in_vec_range(index, X, length), X)
    assert sympy.expand(sizevars.stride_at(inductor._in_vec_range(index, X, length), X) - expected) == 0


def test_quotients_are_simplified_as_inductor_does() -> None:
    index = FloorDiv(X, 16) + Y
    assert inductor._in_vec_range(index, X, 16) == sizevars.simplify_index_in_vec_range(index, X, 16) != index


def test_what_was_replaced_is_put_back_when_compiling_fails() -> None:
    before = async_compile.AsyncCompile, sizevars.simplify_index_in_vec_range
    with pytest.raises(RuntimeError, match="as a compiler would"), inductor.quick():
        raise RuntimeError("as a compiler would")
    assert (async_compile.AsyncCompile, sizevars.simplify_index_in_vec_range) == before


@pytest.mark.parametrize(("option", "taken"), [("-O2", True), ("-mno-such-instructions", False)])
def test_instructions_are_those_whose_option_the_compiler_takes(
    option: str, taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    instructions = VecAVX2()
    monkeypatch.setattr(instructions, "_arch_flags", option)
    with inductor.quick():
        assert instructions.check_build("no program") is taken


def test_rules_of_types_are_laid_out_once_and_again_where_they_could_not() -> None:
    could = []

    def lay_out(handler: object) -> None:
        could.append(handler)
        if len(could) == 1:
            raise RuntimeError("some operations have no rule yet")

    once = inductor._once(lay_out)
    with pytest.raises(RuntimeError, match="no rule yet"):
        once(could)
    once(could)
    once(could)
    assert len(could) == 2
