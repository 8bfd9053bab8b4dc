"""What Inductor does slowly for our steps, done quickly; what it compiles stays as it is, to the bit.

It hands each C++ kernel to the compiler by itself, some forty of them for a small decoder, and nearly all of their time
goes into the headers: here the compiler gets one file. It simplifies each index expression, by all that sympy knows, to
find how far apart neighbours lie: here those alone that need it. For each set of vector instructions that the processor
has it compiles, links and loads a program, and loads it again in each process: here the compiler is asked whether it
takes the option. Rules of types are laid out once, not for each operation of each kernel.
"""

from __future__ import annotations

import contextlib
import gc
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest import mock

import sympy
from torch._inductor import async_compile, sizevars
from torch._inductor.codecache import CppPythonBindingsCodeCache
from torch._inductor.cpp_builder import get_cpp_compiler
from torch._inductor.cpu_vec_isa import VecISA
from torch._inductor.dtype_propagation import DtypePropagationOpsHandler
from torch.utils._sympy.functions import FloorDiv, ModularIndexing

_KERNEL = re.compile(r'\s*(?P<header>#include [<"][^\n]+[>"])\s*extern "C"\s+void\s+kernel(?=\()')
"""How a source begins that holds one kernel and nothing before it."""
_simplified = sizevars.simplify_index_in_vec_range


@contextlib.contextmanager
def quick() -> Iterator[None]:
    """What is compiled or loaded meanwhile is so in a third of the time."""
    collects = gc.isenabled()
    gc.disable()  # little of what comes about is left, and looking for it again and again takes a tenth of the time
    try:
        with (
            mock.patch.object(async_compile, "AsyncCompile", _Together),
            mock.patch.object(sizevars, "simplify_index_in_vec_range", _in_vec_range),
            mock.patch.object(VecISA, "check_build", _accepted),
            mock.patch.object(DtypePropagationOpsHandler, "__init__", _once(DtypePropagationOpsHandler.__init__)),
        ):
            yield
    finally:
        if collects:
            gc.enable()


def _once(lay_out: Callable[[Any], None]) -> Callable[[Any], None]:
    """The same for an object of which there is one, done when it is made first."""
    done = set[int]()

    def once(the_one: Any) -> None:
        if id(the_one) not in done:
            lay_out(the_one)
            done.add(id(the_one))

    return once


def _accepted(instructions: VecISA, _: str) -> bool:
    """Whether the compiler takes the options of these instructions, which the processor is known to have."""
    command = [get_cpp_compiler(), *instructions.build_arch_flags().split(), "-E", "-x", "c++", os.devnull]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _in_vec_range(index: sympy.Expr, var: sympy.Symbol, length: int) -> sympy.Expr:
    """An index expression as the stride of a loop is found from it; a polynomial gives the same as it stands."""
    return _simplified(index, var, length) if index.has(FloorDiv, ModularIndexing, sympy.Rel) else index


@dataclass(frozen=True)
class _Kernel:
    """What is asked for, until it is there."""

    argtypes: list[str]
    source: str
    header: str
    rest: str
    """Of the source, from the kernel's arguments on."""


class _Together(async_compile.AsyncCompile):
    """What a program that Inductor wrote asks for its kernels while it is imported."""

    def cpp_pybinding(self, argtypes: list[str], source_code: str) -> Any:
        """A kernel that is there when all have been waited for; one of another form by itself, at once."""
        begin = _KERNEL.match(source_code)
        if begin is None:
            return super().cpp_pybinding(argtypes, source_code)
        return _Kernel(argtypes, source_code, begin["header"], source_code[begin.end() :])

    def wait(self, scope: dict[str, Any]) -> None:
        """Put kernels where names of the program are still asking for one."""
        asked = {name: kernel for name, kernel in scope.items() if isinstance(kernel, _Kernel)}
        try:
            made = _together([*asked.values()]) if asked else []
        except Exception:  # another torch may hold its bindings otherwise; if it is the kernels, they say so again
            made = [super(_Together, self).cpp_pybinding(k.argtypes, k.source) for k in asked.values()]
        scope.update(zip(asked, made, strict=True))
        super().wait(scope)


def _together(kernels: list[_Kernel]) -> list[Callable[..., None]]:
    """The kernels, compiled in one file or found where they were."""
    headers = dict.fromkeys(kernel.header for kernel in kernels)
    sources = [f'extern "C" void kernel_{number}{kernel.rest}' for number, kernel in enumerate(kernels)]
    cases = "\n".join(
        f"case {number}: kernel_{number}({_parsed(kernel.argtypes)}); break;" for number, kernel in enumerate(kernels)
    )
    binding = CppPythonBindingsCodeCache.suffix_template.format(
        entry_func="kernel",
        arg_len="PyTuple_GET_SIZE(args)",  # the kernels' own differ
        call_entry_func=f"switch (parse_arg<int64_t>(args, 0)) {{\n{cases}\n}}\nPy_RETURN_NONE;",
        extra_parse_arg="",
    )
    module = CppPythonBindingsCodeCache.load("\n".join([*headers, *sources, binding]))
    return [partial(module.kernel, number) for number in range(len(kernels))]


def _parsed(argtypes: list[str]) -> str:
    """The arguments of a kernel, behind its number in the tuple that Python passes."""
    return ", ".join(f"parse_arg<{kind.replace('const ', '')}>(args, {n})" for n, kind in enumerate(argtypes, 1))
