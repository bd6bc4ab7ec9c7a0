"""Does a captured step do what the step does? One step is done both ways from one state, and compared.

What `stability` cannot see of a graph (kernels that a capture chose otherwise, inputs that it did not take,
random numbers that stand still) shows in what a replay makes of weights, buffers, AdamW's state, loss and
random state. The step is done on another batch than the one of the capture, with another learning rate and
other random numbers, so that nothing a graph kept can pass for what it should have read. Everything is put
back afterwards: the training has the bits it has without the check.

Deterministic kernels must give the same bits. Where a step uses others, the ordinary step is done twice, and
the replay may differ from it `NOISE` times as much as these two differ, or by the floors below. Weights are
compared by the length of their whole update alone, because Adam makes a full step of noise where a gradient
is tiny.

The ordinary steps come before the capture, whose graph keeps memory of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.engine.gpu.state import RandomState, Saved, StepState

SEED = 20_260_101  # any number: no epoch's
NOISE = 4.0  # times the difference of two ordinary steps
LOSS = 1e-3  # relative
MOMENT = 1e-2  # relative, of the norm of each exp_avg
BUFFER = 1e-2  # relative, of the norm of what the step changed in it
UPDATE = 1.5  # factor between the lengths of the updates; another learning rate makes it 3 or more
ROUNDING = 1e-6  # relative, of a number from which another one is subtracted


@dataclass(frozen=True)
class Reference:
    """A state, and what one ordinary step makes of it: twice where steps are not deterministic."""

    before: Saved
    after: Sequence[Saved]


class SelfCheck:
    """Checks captured steps that change `state()`; `deterministic()` says how exactly they repeat.

    `result` is for the record; empty before the first check.
    """

    def __init__(self, state: Callable[[], StepState], deterministic: Callable[[], bool]) -> None:
        self.state = state
        self.deterministic = deterministic
        self.result = ""

    def reference(self, step: Callable[[], None]) -> Reference:
        """What the ordinary `step` does. The state is left as it was."""
        before = Saved.of(self.state())
        after = []
        try:
            for _ in range(1 if self.deterministic() else 2):
                self._change_conditions(before)
                step()
                after.append(Saved.of(self.state()))
        finally:
            before.put_back(self.state())
        return Reference(before, after)

    def difference(self, replay: Callable[[], None], reference: Reference) -> str:
        """What `replay` does otherwise than the step; empty if nothing. The state is left as it was."""
        try:
            self._change_conditions(reference.before)
            replay()
            state = self.state()
            found = _random_difference(state, reference) or (
                _exact_difference(state, reference)
                if len(reference.after) == 1
                else _noisy_difference(state, reference)
            )
        finally:
            reference.before.put_back(self.state())
        exactness = "bitwise" if len(reference.after) == 1 else f"within {NOISE:g} x the noise of a step"
        self.result = f"failed: {found}" if found else f"held, {exactness}"
        return found

    def _change_conditions(self, before: Saved) -> None:
        """The state `before`, with another learning rate and other random numbers to come."""
        state = self.state()
        before.put_back(state)
        if state.rate is not None:
            state.rate.mul_(3).add_(1e-4)  # at least 3 times as large, also where it is 0
        torch.manual_seed(SEED)


def _random_difference(state: StepState, reference: Reference) -> str:
    same = RandomState.now(state.total.device).equals(reference.after[0].random)
    return "" if same else "random numbers are drawn otherwise"


def _exact_difference(state: StepState, reference: Reference) -> str:
    (after,) = reference.after
    if name := _new_or_gone(state, after):
        return name
    return _first_not({name: _equal(t, after.tensors[name]) for name, t in state.tensors.items()})


def _noisy_difference(state: StepState, reference: Reference) -> str:
    """By the tolerances above, within which what is no number never is."""
    first, second = reference.after
    if name := _new_or_gone(state, first):
        return name
    within: dict[str, Tensor] = {}
    for name, t in state.tensors.items():
        if name in state.weights or name.startswith("exp_avg_sq"):
            continue  # second moments follow the gradients, of which the first ones tell
        expected, again, old = (
            _beside(t, saved.tensors[name]) for saved in (first, second, reference.before)
        )
        if name.startswith("step of") or not t.is_floating_point():
            within[name] = _equal(t, expected)
            continue
        if name.startswith("exp_avg"):
            floor = MOMENT * _norm(expected)
        else:
            share = BUFFER if name in state.buffers else LOSS
            floor = share * _norm(expected - old) + ROUNDING * _norm(expected)
        within[name] = _norm(t - expected) <= torch.maximum(NOISE * _norm(again - expected), floor)
    lengths = (_update(state, values, reference.before) for values in (state.weights, first.tensors))
    shorter, longer = torch.stack(list(lengths)).sort().values
    within["the length of the whole update"] = longer <= UPDATE * shorter
    return _first_not(within)


def _new_or_gone(state: StepState, saved: Saved) -> str:
    names = sorted(state.tensors.keys() ^ saved.tensors.keys())
    return f"{names[0]} is new, or gone" if names else ""


def _first_not(flags: Mapping[str, Tensor]) -> str:
    """Words for the tensors whose flag is not set; the device is waited for once."""
    device = next(iter(flags.values())).device
    states = torch.stack([flag.to(device) for flag in flags.values()]).tolist()
    wrong = [name for name, fine in zip(flags, states, strict=True) if not fine]
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    return f"{wrong[0]} differs{more}" if wrong else ""


def _equal(t: Tensor, expected: Tensor) -> Tensor:
    """Whether all numbers are equal, or none in both."""
    t, expected = t.detach(), _beside(t, expected)
    return ((t == expected) | ((t != t) & (expected != expected))).all()


def _update(state: StepState, values: Mapping[str, Tensor], before: Saved) -> Tensor:
    """The length of the change of all weights together."""
    changes = [
        _norm(_beside(t, values[name]) - _beside(t, before.tensors[name]))
        for name, t in state.weights.items()
    ]
    return _norm(torch.stack(changes))


def _norm(t: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(t.detach().float())
    return norm


def _beside(t: Tensor, saved: Tensor) -> Tensor:
    """The copy on the device of the tensor: it may be kept on the CPU."""
    return saved.detach().to(t.device)
