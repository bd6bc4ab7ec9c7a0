"""What a training step changes, copied and put back: tensors in place, and random states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

ROOM = 4  # times the size of a copy that must be free on a GPU to keep it there


@dataclass(frozen=True)
class StepState:
    """The tensors that steps change, by name, and the learning rate where a step reads it from a tensor."""

    weights: Mapping[str, Tensor]
    buffers: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]  # such as "exp_avg of head.weight"
    total: Tensor  # the sum of losses
    rate: Tensor | None

    @classmethod
    def of(
        cls, module: nn.Module, optimizer: torch.optim.Optimizer, total: Tensor, rate: Tensor | None
    ) -> Self:
        weights = dict(module.named_parameters())
        names: dict[Tensor, str] = {parameter: name for name, parameter in weights.items()}
        moments = {
            f"{kind} of {names.get(parameter, 'a parameter')}": value
            for parameter, values in optimizer.state.items()
            for kind, value in values.items()
            if isinstance(value, Tensor)
        }
        return cls(weights, dict(module.named_buffers()), moments, total, rate)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All of them but the learning rate, which a step reads and never changes."""
        return {**self.weights, **self.buffers, **self.optimizer, "the loss": self.total}


class RandomState(NamedTuple):
    """States of PyTorch's generators: of the CPU, and of a GPU if one is used."""

    cpu: Tensor
    gpu: Tensor | None

    @classmethod
    def now(cls, device: torch.device) -> Self:
        on_gpu = device.type == "cuda"
        return cls(torch.get_rng_state(), torch.cuda.get_rng_state(device) if on_gpu else None)

    def put_back(self, device: torch.device) -> None:
        torch.set_rng_state(self.cpu)
        if self.gpu is not None:
            torch.cuda.set_rng_state(self.gpu, device)

    def equals(self, other: RandomState) -> bool:
        return all(
            torch.equal(a, b) for a, b in zip(self, other, strict=True) if a is not None and b is not None
        )


@dataclass(frozen=True)
class Saved:
    """A copy of what a step changes."""

    tensors: Mapping[str, Tensor]
    rate: Tensor | None
    random: RandomState

    @classmethod
    def of(cls, state: StepState) -> Self:
        """Copies beside the tensors; on the CPU if a GPU has little memory left."""
        device = state.total.device
        where = _home(state, device)
        copies = {name: _copy(t, where) for name, t in state.tensors.items()}
        rate = None if state.rate is None else state.rate.clone()
        return cls(copies, rate, RandomState.now(device))

    def put_back(self, state: StepState) -> None:
        """Give the tensors of `state` the values they had; those that are new since then stay as they are."""
        now = state.tensors
        with torch.no_grad():
            for name, value in self.tensors.items():
                if name in now:
                    now[name].copy_(value)
            if self.rate is not None and state.rate is not None:
                state.rate.copy_(self.rate)
        self.random.put_back(state.total.device)


def _copy(value: Tensor, where: torch.device) -> Tensor:
    # A step counter of AdamW may lie on the CPU, and stays there.
    return value.detach().to(where if value.device.type == "cuda" else value.device, copy=True)


def _home(state: StepState, device: torch.device) -> torch.device:
    """Where copies are kept. What is in use elsewhere cannot be known beforehand, so there must be plenty."""
    if device.type != "cuda":
        return device
    size = sum(t.nbytes for t in state.tensors.values())
    free = torch.cuda.mem_get_info(device)[0]
    return device if free >= ROOM * size else torch.device("cpu")
