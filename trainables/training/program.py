"""A step as one compiled program: loss, gradient, update and metrics in one graph of torch's Inductor.

A step is carried out once while its operations are noted; the tensors that it found become the program's inputs. What
is compiled is kept by the graph's text, in the process and beside Inductor's own cache, so that a shape is compiled
once on a machine. torch.compile compiles loss, gradient and update apart and traces them again for every pack, which
takes seconds, and its cache refuses a gradient of our own (models/embedding.py).
"""

from __future__ import annotations

import contextlib
import hashlib
import operator
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor
from torch._guards import TracingContext, tracing
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx import Graph, GraphModule, Node
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from grokstudy.trainables.models.opaque import opaque

Compiled = Callable[..., object]

_compiled: dict[str, Compiled] = {}
"""What this process has compiled or loaded."""


def program(step: Callable[[], None], changed: Sequence[Tensor], tables: Sequence[Tensor] = ()) -> Callable[[], None]:
    """The step, compiled. `changed`: the tensors that it writes; they are left as they are.

    `tables` (M, N, x) may be of any length N in the program, so that runs of more or fewer examples share one.
    Raises what torch raises where a step cannot be compiled, or where what was compiled fails when it is tried.
    """
    graph, inputs = traced(step, changed)
    long = [any(x is table for table in tables) and x.shape[1] > 1 for x in inputs]
    shapes = [
        (*x.shape[:1], "N", *x.shape[2:]) if n else (*x.shape, x.stride()) for x, n in zip(inputs, long, strict=True)
    ]
    about = [graph.code, shapes, [(x.dtype, x.device) for x in inputs], _machine(inputs[0].device)]
    key = hashlib.sha256(repr(about).encode()).hexdigest()
    inputs = [x.detach() for x in inputs]
    if key not in _compiled:
        _compiled[key] = _made(graph, inputs, long, key)
    compiled = _compiled[key]

    def carry_out() -> None:
        with torch.no_grad():
            compiled(*inputs)

    with _undone(changed):
        carry_out()
    return carry_out


def traced(step: Callable[[], None], changed: Sequence[Tensor]) -> tuple[GraphModule, list[Tensor]]:
    """The graph of a step, and its inputs: the very tensors that the step reads and writes.

    Raises RuntimeError for an operation that waits for a value.
    """
    tape = _Tape()
    with _undone(changed), _compiling(), tape:
        step()
    return tape.graph()


@contextlib.contextmanager
def _undone(changed: Sequence[Tensor]) -> Iterator[None]:
    """Give these tensors back the values that they had, however it ends."""
    before = [x.detach().clone() for x in changed]
    try:
        yield
    finally:
        with torch.no_grad():
            for x, value in zip(changed, before, strict=True):
                x.copy_(value)


apart = opaque("apart(Tensor x) -> Tensor", torch.clone, torch.empty_like)
"""A copy that Inductor makes before what uses it.

Looked up inside a large kernel instead, the words of a drawn task came out of bounds (torch 2.13, GCC 12).
"""


class _Tape(TorchDispatchMode):
    """Notes the operations below autograd, with the tensors that went in and came out."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.noted: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        by_numbers = func is torch.ops.aten.index.Tensor and all(
            x.dtype not in (torch.bool, torch.uint8) for x in _tensors(args[1:])
        )
        if torch.Tag.data_dependent_output in func.tags or (
            torch.Tag.dynamic_output_shape in func.tags and not by_numbers
        ):
            raise RuntimeError(f"{func} waits for a value")
        result = func(*args, **(kwargs or {}))
        self.noted.append((func, args, kwargs or {}, result))
        return result

    def graph(self) -> tuple[GraphModule, list[Tensor]]:
        """What was noted, as a graph without values, and the tensors that no operation made, in order of first use."""
        known, inputs = set[int](), list[Tensor]()
        given, made = {0}, set[int]()  # addresses of memory; that of an empty tensor is 0
        for func, args, kwargs, result in self.noted:
            for x in _tensors((args, kwargs)):
                if id(x) not in known:
                    if (address := x.untyped_storage().data_ptr()) in made:
                        raise RuntimeError(f"{func} takes a tensor that came about unseen")
                    inputs.append(x)
                    given.add(address)
                    known.add(id(x))
            for x in _tensors(result):
                known.add(id(x))
                if (address := x.untyped_storage().data_ptr()) not in given:
                    made.add(address)
        graph = Graph()
        nodes = {id(x): graph.placeholder(f"x{number}") for number, x in enumerate(inputs)}

        def node(x: Tensor) -> Node:
            return nodes[id(x)]

        for func, args, kwargs, result in self.noted:
            call = graph.call_function(func, tree_map_only(Tensor, node, args), tree_map_only(Tensor, node, kwargs))
            if isinstance(result, Tensor):
                nodes.setdefault(id(result), call)
            else:
                for number, x in enumerate(result):
                    nodes.setdefault(id(x), graph.call_function(operator.getitem, (call, number)))
        graph.output(())
        return GraphModule({}, graph), inputs


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


@contextlib.contextmanager
def _compiling() -> Iterator[None]:
    """Let torch.compiler.is_compiling() say so to the code of models and losses, as torch.export does."""
    before = torch.compiler._is_compiling_flag
    torch.compiler._is_compiling_flag = True
    try:
        yield
    finally:
        torch.compiler._is_compiling_flag = before


def _machine(device: torch.device) -> list[object]:
    """What the compiled text depends on besides the graph."""
    if device.type == "cuda":
        return [torch.__version__, torch.cuda.get_device_name(device), torch.backends.cuda.matmul.fp32_precision]
    return [torch.__version__, torch.get_num_threads(), sorted(torch.cpu.get_capabilities().items())]


def _made(graph: GraphModule, inputs: list[Tensor], long: list[bool], key: str) -> Compiled:
    """Load what any process has compiled before, or compile it; one process at a time."""
    from torch._inductor.runtime.cache_dir_utils import cache_dir
    from torch._inductor.standalone_compile import CompiledArtifact

    from grokstudy.trainables.training.inductor import quick

    path = Path(cache_dir()) / "steps" / f"{key}.bin"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")), quick():
        if path.exists():
            with contextlib.suppress(Exception):  # a file that cannot be read is made again
                return CompiledArtifact.load(path=str(path), format="binary")
        shaped = _shaped(inputs, long)
        with torch.no_grad(), tracing(TracingContext(shaped[0].fake_mode)):
            compiled = torch._inductor.standalone_compile(graph, [*shaped], dynamic_shapes="from_tracing_context")
        with contextlib.suppress(Exception):  # without the file the next process compiles again
            part = path.with_suffix(".part")
            compiled.save(path=str(part), format="binary")
            part.replace(path)
    return compiled


def _shaped(inputs: list[Tensor], long: list[bool]) -> list[FakeTensor]:
    """Inputs without values, every size of which is fixed but for the length of tables."""
    from torch._dynamo.source import ConstantSource
    from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext

    without_values, shaped = FakeTensorMode(shape_env=ShapeEnv()), []
    for number, (x, is_long) in enumerate(zip(inputs, long, strict=True)):
        sizes = [DimDynamic.DYNAMIC if is_long and axis == 1 else DimDynamic.STATIC for axis in range(x.dim())]
        context = StatelessSymbolicContext(dynamic_sizes=sizes)  # type: ignore[var-annotated]
        source = ConstantSource(f"x{number}")
        shaped.append(without_values.from_tensor(x, symbolic_context=context, source=source))
    return shaped
