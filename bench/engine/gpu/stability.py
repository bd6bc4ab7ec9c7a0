"""Whether a step would be the same as a CUDA graph: seen by watching ordinary steps, on any device.

A graph repeats kernels with the numbers and the addresses they had when it was captured. So a step whose
numbers change from step to step (a counter in Python, a draw by numpy), or which reads memory that lies
elsewhere each time (an average bound to new tensors), would be captured without an error and be wrong from
then on. Here steps are traced operator by operator, and two of them are compared: operators, shapes, strides,
numbers, and which memory outside the step is used. A trace also shows what no graph can hold: operators that
wait for the device or copy from the host.

`obstacle` compares the ordinary steps before a capture. `Recorder` stands for a capture where there is no
GPU, and compares every replay. Neither sees what changes less often than every step, such as a branch that is
taken every hundredth time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

TORCH = str(Path(torch.__file__).parent)
HERE = Path(__file__)
OURS = (__file__, str(HERE.with_name("bf16_weights.py")), str(HERE.parents[1] / "depthwise.py"))
"""They call operators for others."""

LIFTS = ("aten::lift", "aten::lift_fresh", "aten::lift_fresh_copy")  # a tensor made of values of the host
INDEXING = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")


class Unstable(RuntimeError):
    """A graph of this step would not do what the step does; the message names the operator."""


class Memory(NamedTuple):
    """A tensor that an operator is given."""

    origin: str  # "batch", "made" within the step, or "outside" of it
    identity: int  # its number within the step; outside, its storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: torch.dtype


class Operation(NamedTuple):
    """One operator of a step."""

    name: str
    arguments: tuple[Memory | str, ...]
    place: str  # FILE:LINE of the Python code that called it, or of `backward`


@dataclass(frozen=True)
class Trace:
    """The operators of one step."""

    operations: tuple[Operation, ...]
    obstacles: tuple[str, ...]  # operators that no graph can hold
    # Weak references, without which a storage made later could look like one that is gone.
    storages: Mapping[int, StorageWeakRef] = field(repr=False)


def trace(work: Callable[..., None], batch: Sequence[Tensor] = ()) -> Trace:
    """Do `work` once on copies of the tensors of `batch`, and return its operators.

    On copies, because one batch lies behind the other in the memory from which they are cut.
    """
    copies = [t.clone() for t in batch]
    tracer = _Tracer(copies)
    with tracer:
        work(*copies)
    return Trace(tuple(tracer.operations), tuple(tracer.obstacles), tracer.storages)


def obstacle(traces: Sequence[Trace]) -> str:
    """Why a graph would not do what these steps on batches of one shape do; empty if it would."""
    for seen in traces:
        if seen.obstacles:
            return seen.obstacles[0]
    return next((text for seen in traces[1:] if (text := _difference(traces[0], seen))), "")


# --- tracing -----------------------------------------------------------------------------------------


class _Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]  # not in PyTorch's stubs
    """Notes each operator on its way to the device, those of `backward` and of the optimiser included."""

    def __init__(self, batch: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[Operation] = []
        self.obstacles: list[str] = []
        self.storages: dict[int, StorageWeakRef] = {}
        self.known: dict[int, tuple[str, int]] = {}  # storage -> origin and number
        for number, t in enumerate(filter(_has_memory, batch)):
            self._remember(t, ("batch", number))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func.namespace == "profiler":  # optimisers label their steps
            return func(*args, **kwargs)
        given = tree_leaves((args, kwargs))
        arguments = tuple(self._described(a) for a in given)
        taken = {_storage(a) for a in given if _has_memory(a)}
        results = func(*args, **kwargs)
        place = _place()
        made = [r for r in tree_leaves(results) if _has_memory(r)]
        if problem := _problem(func, args, kwargs, [a for a in given if isinstance(a, Tensor)] + made):
            self.obstacles.append(f"{func!s} at {place} {problem}")
        for t in made:
            if _storage(t) not in taken and _storage(t) not in self.known:
                self._remember(t, ("made", len(self.known)))
        self.operations.append(Operation(str(func), arguments, place))
        return results

    def _described(self, value: object) -> Memory | str:
        if not isinstance(value, Tensor):
            return "a generator" if isinstance(value, torch.Generator) else repr(value)
        if not _has_memory(value):
            return f"a tensor of layout {value.layout}"
        storage = _storage(value)
        origin, identity = self.known.get(storage, ("outside", storage))
        if origin == "outside":
            self.storages.setdefault(storage, _weak(value))
        return Memory(
            origin, identity, int(value.storage_offset()), tuple(value.shape), value.stride(), value.dtype
        )

    def _remember(self, value: Tensor, origin: tuple[str, int]) -> None:
        self.storages[_storage(value)] = _weak(value)
        self.known[_storage(value)] = origin


def _has_memory(value: object) -> TypeGuard[Tensor]:
    """Whether it is a tensor with one piece of memory, which sparse ones have not."""
    return isinstance(value, Tensor) and value.layout == torch.strided and not value.is_nested


def _storage(value: Tensor) -> int:
    identity: int = value.untyped_storage()._cdata
    return identity


def _weak(value: Tensor) -> StorageWeakRef:
    return StorageWeakRef(value.untyped_storage())  # type: ignore[no-untyped-call]


def _place() -> str:
    """FILE:LINE of the innermost call that is neither PyTorch's nor one of `OURS`."""
    frame = sys._getframe(2)
    while frame.f_back is not None:
        name = frame.f_code.co_filename
        if name not in OURS and not name.startswith((TORCH, "<")):
            break
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _problem(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], tensors: Sequence[Tensor]) -> str:
    """Why no graph can hold this operator; empty if one can."""
    name = func._schema.name
    if torch.Tag.data_dependent_output in func.tags or name == "aten::is_nonzero":
        return "waits for the device, to read a value (.item(), float(), if)"
    if name in LIFTS:
        return "copies a value from the host (torch.tensor, x[...] = number); make it a buffer of the module"
    if name in INDEXING:
        if _has_mask(args) and not _fills(name, args):
            return "waits for the device, to count what a mask selects; use torch.where"
    elif torch.Tag.dynamic_output_shape in func.tags and kwargs.get("output_size") is None:
        return "waits for the device, because its shape depends on values"
    if len(kinds := {t.device.type for t in tensors}) > 1 and "cpu" in kinds:
        return "copies between the host and the device"
    return ""


def _has_mask(args: tuple[Any, ...]) -> bool:
    return any(isinstance(a, Tensor) and a.dtype in (torch.bool, torch.uint8) for a in tree_leaves(args[1]))


def _fills(name: str, args: tuple[Any, ...]) -> bool:
    """Whether one value is written where a mask is set, which PyTorch does without waiting."""
    accumulates = len(args) > 3 and args[3]
    return name != "aten::index" and args[2].numel() == 1 and not accumulates


# --- comparing ---------------------------------------------------------------------------------------


def _difference(first: Trace, second: Trace) -> str:
    """What a graph captured in the first step would do wrong in the second; empty if nothing."""
    for a, b in zip(first.operations, second.operations, strict=False):
        if a.name != b.name:
            return f"{a.name} at {a.place} is {b.name} at {b.place} in the next step"
        for x, y in zip(a.arguments, b.arguments, strict=False):
            if x != y:
                return f"{a.name} at {a.place} {_change(x, y)}"
        if len(a.arguments) != len(b.arguments):
            return f"{a.name} at {a.place} is given other tensors in the next step"
    if (count := len(first.operations)) != (now := len(second.operations)):
        longer = max(first.operations, second.operations, key=len)[min(count, now)]
        return f"{count} operators become {now} in the next step, from {longer.name} at {longer.place} on"
    return ""


def _change(x: Memory | str, y: Memory | str) -> str:
    if not (isinstance(x, Memory) and isinstance(y, Memory)):
        return f"is given {_words(x)}, and {_words(y)} in the next step"
    if (x.shape, x.strides, x.dtype) != (y.shape, y.strides, y.dtype):
        return f"is given {_words(x)}, and {_words(y)} in the next step"
    return (
        f"uses {_words(x)} that lies elsewhere in the next step; "
        "change state in place (copy_, mul_, lerp_) instead of binding a new tensor"
    )


def _words(value: Memory | str) -> str:
    if isinstance(value, str):
        return value if len(value) <= 60 else f"{value[:57]}..."
    return f"a tensor {value.shape} of {str(value.dtype).removeprefix('torch.')}"


# --- without a GPU -----------------------------------------------------------------------------------


class Recorder:
    """A `bench.engine.gpu.graph.Capture` for any device, which checks what a graph takes for granted.

    At the capture the work is traced without counting: what `state` names, and the random state of the CPU,
    are put back, as a real capture runs nothing. Each replay does the work again and raises Unstable if it
    differs from what was captured.

    `state()` gives every tensor that steps change, by name (`tensors_of`).
    """

    def __init__(self, state: Callable[[], Mapping[str, Tensor]]) -> None:
        self.state = state
        self.captures = 0
        self.replays = 0

    def __call__(self, work: Callable[[], None]) -> Callable[[], None]:
        before = dict(self.state())
        saved = {name: t.detach().clone() for name, t in before.items()}
        random = torch.get_rng_state()
        captured = trace(work)
        after = self.state()
        if new := sorted(set(after) - set(before)):
            raise Unstable(f"the step makes new state: {', '.join(new[:3])}")
        for name, t in after.items():
            if _storage(t) != _storage(before[name]):
                raise Unstable(f"the step replaces {name}; change it in place")
            with torch.no_grad():
                t.copy_(saved[name])
        torch.set_rng_state(random)
        if reason := obstacle([captured]):
            raise Unstable(reason)
        self.captures += 1

        def replay() -> None:
            if reason := obstacle([captured, trace(work)]):
                raise Unstable(reason)
            self.replays += 1

        return replay


def tensors_of(
    module: nn.Module, optimizer: torch.optim.Optimizer, others: Iterable[Tensor] = ()
) -> dict[str, Tensor]:
    """The tensors that steps change, by name: parameters, buffers, the optimiser's state, and `others`."""
    state: dict[str, Tensor] = dict(module.state_dict(keep_vars=True))
    for number, values in enumerate(optimizer.state.values()):
        state |= {f"optimizer {number} {k}": v for k, v in values.items() if isinstance(v, Tensor)}
    return state | {f"other {number}": t for number, t in enumerate(others)}
