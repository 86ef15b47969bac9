"""Steps of a small network without Python: loss, gradients and the optimiser's move as one recorded program, several steps a call.

A small step is calls, not arithmetic: 784-128-128-10 at batch 32 takes 370 us by autograd, of which 180 are products, and 260 recorded.
What was recorded is held against an ordinary step on another batch before it is used; what cannot be recorded (a batch of another shape,
buffers that move, control flow that hangs on the data) is stepped as ever.
"""

from __future__ import annotations

import copy
import functools
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from luban.core.batch import Batch
from luban.core.contract import Head, Model, Task
from luban.optim import Optimiser

SMALL = 1e9
"""FLOPs of a step up to which calls weigh more than arithmetic."""
LONG = 1_000
"""Steps from which recording, which takes about .1 s, is repaid."""
MOST = 32
"""Steps a call; more are no faster."""
WIDE = 1_500_000
"""Multiply-adds of a product from which oneDNN is the faster library. MKL leaves half of an AMD processor's width unused: 32 x 784 x 128
takes 72 us by it and 49 by oneDNN, whose calls cost more: 32 x 128 x 128 takes 14 and 18."""


class Loss(nn.Module):
    """task.loss as a module: batch -> scalar. bf16: computed under autocast."""

    def __init__(self, model: Model, task: Task, head: Head, bf16: bool = False):
        super().__init__()
        self.model, self.task, self.head, self.bf16 = model, task, head, bf16

    def forward(self, batch: Batch) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            return self.task.loss(self.model, batch, self.head)[0]


class Traced:
    """`steps(batch, ...)` trains the model in `loss` on a batch that `fits`. Not `usable` where recording failed."""

    def __init__(self, loss: Loss, optimiser: Optimiser, batch: Batch, other: Batch, sure: bool = False):
        """batch: of one step, to record; other: another of the same shape, to try. sure: it was tried before, and need not be again."""
        self.usable = False
        if all(isinstance(value, Tensor) and value.device.type == "cpu" for value in batch.values()) and optimiser.fused:
            self.shapes = {key: (value.shape, value.dtype) for key, value in batch.items()}
            if graph := _recorded(loss, optimiser.weights, batch):
                self.program = _program(graph)
                self.usable = sure or self._agrees(loss, optimiser, other)

    def fits(self, batch: Batch, steps: int) -> bool:
        """Is it `steps` batches of the recorded shape, one after the other?"""
        return self.usable and all(
            value.dtype == dtype and value.shape == (steps * shape[0], *shape[1:])
            for value, (shape, dtype) in zip(batch.values(), self.shapes.values(), strict=True)
        )

    def steps(self, batch: Batch, optimiser: Optimiser, rates: Sequence[float], clip: float) -> Tensor:
        """One step for each learning rate, on as many equal pieces of the batch; clip as in the plan. Returns the losses, (len(rates),)."""
        with torch.no_grad():
            return self.program(optimiser.weights, *optimiser.lists(), list(batch.values()), list(rates), clip)

    def _agrees(self, loss: Loss, optimiser: Optimiser, batch: Batch) -> bool:
        """Does it what an ordinary step does, with the same random numbers?"""
        (mine, moved), (theirs, stepped) = (copy.deepcopy((loss, optimiser)) for _ in range(2))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            losses = self.steps(batch, moved, [1e-3], 0.0)
            torch.manual_seed(0)
            value = theirs(batch)
        value.backward()
        stepped.set_lr(1e-3)
        stepped.step()
        still = all(torch.equal(a, b) for a, b in zip(theirs.buffers(), loss.buffers(), strict=True))
        # by their means: Adam's first step goes by the signs of gradients, and what is as good as 0 may have either
        with torch.no_grad():
            moves = [(a - p, b - p) for p, a, b in zip(loss.parameters(), mine.parameters(), theirs.parameters(), strict=True)]
            pairs = [(losses[0], value), *((a, stepped.tensors()[key]) for key, a in moved.tensors().items()), *moves]
            return still and all((a - b).abs().mean() <= 0.05 * b.abs().mean() for a, b in pairs)


# ---------------------------------------------------------------- recording


class _Tape(TorchDispatchMode):
    """Notes every operation below autograd, forwards and backwards. torch's own recorder, make_fx, would load its compiler: a second."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # to be skipped, too, loads the compiler

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.data_dependent_output in func.tags or torch.Tag.dynamic_output_shape in func.tags:
            raise RuntimeError(f"{func} looks at values, which may be others the next time")
        made = func(*args, **(kwargs or {}))
        self.calls.append((_spelt(func, args), (args, kwargs or {}), made))
        return made

    def play(self, given: list[Tensor], then: list[Tensor], wanted: list[Tensor]) -> list[Tensor]:
        """All of it again, with other tensors for the given ones. Returns what became of the wanted ones."""
        now = {id(old): new for old, new in zip(given, then, strict=True)}

        def found(each: Any) -> Any:
            return tree_map_only(Tensor, lambda tensor: now.get(id(tensor), tensor), each)

        for func, (args, kwargs), made in self.calls:
            again = func(*found(args), **found(kwargs))
            now |= {id(old): new for old, new in zip(tree_leaves(made), tree_leaves(again), strict=True)}
        return found(wanted)


def _recorded(loss: Loss, weights: Sequence[Tensor], batch: Batch) -> Any:
    """(weights, columns) -> (loss, gradients), for TorchScript; None where the model does not allow it."""
    names = {id(p): name for name, p in loss.named_parameters()}
    loss = copy.deepcopy(loss)  # buffers that move must not move in the model
    columns, leaves, tape = list(batch.values()), [p.detach().clone().requires_grad_() for p in weights], _Tape()
    handed = {names[id(p)]: leaf for p, leaf in zip(weights, leaves, strict=True)}
    try:
        with torch.random.fork_rng(devices=[]):
            with tape:
                value = torch.func.functional_call(loss, handed, (batch,))
                gradients = torch.autograd.grad(value, leaves)

            def again(weights: list[Tensor], others: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
                value_now, *gradients_now = tape.play([*leaves, *columns], [*weights, *others], [value, *gradients])
                # the kernel that moves weights goes by their place in memory, and convolutions return theirs in another order
                return value_now, [each.contiguous() for each in gradients_now]

            with torch.no_grad(), warnings.catch_warnings():
                # deprecated for torch.compile, which would take twenty seconds for the same
                warnings.simplefilter("ignore", DeprecationWarning)
                return torch.jit.trace(again, ([p.detach() for p in weights], columns), check_trace=False, strict=False)
    except RuntimeError:  # an operation that cannot be recorded
        return None


def _program(graph: Any) -> Any:
    """The loop over steps, for TorchScript: torch.optim's functions are Python to it. Lists of weights stay whole, for it loses what is
    done in place to a list made of single items."""

    def steps(
        weights: list[Tensor],
        groups: list[list[Tensor]],
        moments: list[list[list[Tensor]]],
        decays: list[float],
        kind: str,
        momentum: float,
        nesterov: bool,
        columns: list[Tensor],
        rates: list[float],
        clip: float,
    ):
        losses = torch.empty(len(rates))
        size = columns[0].size(0) // len(rates)
        for i, rate in enumerate(rates):
            losses[i], gradients = graph(weights, [column.narrow(0, i * size, size) for column in columns])
            if clip > 0:
                norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
                torch._foreach_mul_(gradients, (clip / (norm + 1e-6)).clamp(max=1.0))
            first = 0
            for group, moment, decay in zip(groups, moments, decays):  # noqa: B905, TorchScript knows no strict
                mine = gradients[first : first + len(group)]
                first += len(group)
                if kind != "sgd":
                    torch._foreach_add_(moment[2], 1)
                if kind == "sgd":
                    torch._fused_sgd_(group, mine, moment[0], weight_decay=decay, momentum=momentum, lr=rate, dampening=0.0,
                                      nesterov=nesterov, maximize=False, is_first_step=False)  # fmt: skip
                elif kind == "adam":
                    torch._fused_adam_(group, mine, moment[0], moment[1], [], moment[2], lr=rate, beta1=0.9, beta2=0.999,
                                       weight_decay=decay, eps=1e-8, amsgrad=False, maximize=False)  # fmt: skip
                else:
                    torch._fused_adamw_(group, mine, moment[0], moment[1], [], moment[2], lr=rate, beta1=0.9, beta2=0.999,
                                        weight_decay=decay, eps=1e-8, amsgrad=False, maximize=False)  # fmt: skip
        return losses

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.script(steps)


# ---------------------------------------------------------------- operations by other words


@functools.cache
def _script(function: Any) -> Any:
    """For arguments that the recorder cannot spell itself: empty lists, lists of bools."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.script(function)


def _onednn(a: Tensor, b: Tensor, bias: Tensor | None):
    return torch.ops.mkldnn._linear_pointwise(a, b.t(), bias, "none", [], "")


def _convolution(
    gradient: Tensor, x: Tensor, w: Tensor, bias: list[int] | None, stride: list[int], padding: list[int], dilation: list[int],
    transposed: bool, output_padding: list[int], groups: int, of_x: bool, of_w: bool, of_bias: bool
):  # fmt: skip
    found = torch.ops.aten.convolution_backward(
        gradient, x, w, bias, stride, padding, dilation, transposed, output_padding, groups, [of_x, of_w, of_bias]
    )
    wanted: list[Tensor] = []
    for each, asked in zip(found, (of_x, of_w, of_bias)):  # noqa: B905
        if asked:
            wanted.append(each)
    return wanted


def _convolved_back(*args: Any) -> list[Tensor | None]:
    found = iter(_script(_convolution)(*args[:-1], *args[-1]))
    return [next(found) if asked else None for asked in args[-1]]


def wide_product(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """a @ b + bias by oneDNN, in the same precision. a: (M, K), b: (K, N), bias: (N,)."""
    return _script(_onednn)(a, b, bias)


def _spelt(func: Any, args: Any) -> Any:
    """What does the same as func(*args): oneDNN for wide products, a script for what the recorder cannot spell; else func itself."""
    aten = torch.ops.aten
    if func == aten.convolution_backward.default:
        return _convolved_back
    if func not in (aten.mm.default, aten.addmm.default) or not torch.backends.mkldnn.is_available():
        return func
    *bias, a, b = args
    wide = a.dtype == torch.float32 and a.numel() * b.shape[1] >= WIDE and all(each.dim() == 1 for each in bias)
    return (lambda *args: wide_product(*args[-2:], *args[:-2])) if wide else func
