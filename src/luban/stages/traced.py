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

from luban.core.batch import Batch
from luban.core.contract import Head, Model, Task
from luban.optim import Optimiser
from luban.optim.optimisers import fused_move

SMALL = 2e8
"""FLOPs of a step up to which calls weigh more than arithmetic."""
LONG = 10_000
"""Steps from which recording, which takes about a second, is repaid."""
MOST = 32
"""Steps a call; more are no faster."""
WIDE = 1_500_000
"""Multiply-adds of a product from which oneDNN is the faster library. MKL leaves half of an AMD processor's width unused: 32 x 784 x 128
takes 72 us by it and 49 by oneDNN, whose calls cost more: 32 x 128 x 128 takes 14 and 18."""


class Traced:
    """`steps(batch, ...)` trains the model on a batch that `fits`. Not `usable` where recording failed."""

    def __init__(self, model: Model, task: Task, head: Head, optimiser: Optimiser, batch: Batch, other: Batch):
        """batch: of one step, to record; other: another of the same shape, to try."""
        self.usable = False
        if all(isinstance(value, Tensor) and value.device.type == "cpu" for value in batch.values()) and optimiser.fused:
            self.shapes = {key: (value.shape, value.dtype) for key, value in batch.items()}
            if graph := _recorded(_Loss(model, task, head), optimiser.weights, batch):
                self.program = _program(graph)
                self.usable = self._agrees(model, task, head, optimiser, other)

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

    def _agrees(self, model: Model, task: Task, head: Head, optimiser: Optimiser, batch: Batch) -> bool:
        """Does it what an ordinary step does, with the same random numbers?"""
        (mine, moved), (theirs, stepped) = (copy.deepcopy((model, optimiser)) for _ in range(2))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            losses = self.steps(batch, moved, [1e-3], 0.0)
            torch.manual_seed(0)
            loss = task.loss(theirs, batch, head)[0]
        loss.backward()
        stepped.set_lr(1e-3)
        stepped.step()
        same = all(torch.equal(a, b) for a, b in zip(theirs.buffers(), model.buffers(), strict=True))
        same &= torch.allclose(losses[0], loss.detach(), rtol=1e-3)
        same &= all(torch.allclose(a, stepped.tensors()[key], rtol=1e-2, atol=1e-5) for key, a in moved.tensors().items())
        with torch.no_grad():
            # by their means: Adam's first step goes by the signs of gradients, and what is as good as 0 may have either
            triples = zip(model.parameters(), mine.parameters(), theirs.parameters(), strict=True)
            return same and all((a - b).abs().mean() <= 0.05 * (before - b).abs().mean() for before, a, b in triples)


# ---------------------------------------------------------------- recording


class _Loss(nn.Module):
    """task.loss as a module, so that its parameters can be handed in."""

    def __init__(self, model: Model, task: Task, head: Head):
        super().__init__()
        self.model, self.task, self.head = model, task, head

    def forward(self, batch: Batch) -> Tensor:
        return self.task.loss(self.model, batch, self.head)[0]


def _recorded(loss: _Loss, weights: Sequence[Tensor], batch: Batch) -> Any:
    """The graph of (weights, columns) -> (loss, gradients), for TorchScript; None where the model does not allow it."""
    from torch.fx.experimental.proxy_tensor import make_fx  # half a second, which few runs need

    names = {id(p): name for name, p in loss.named_parameters()}

    def both(weights: list[Tensor], columns: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        handed = {name: each for name, each in zip(order, weights, strict=True)}
        value = torch.func.functional_call(loss, handed, (dict(zip(batch, columns, strict=True)),))
        return value, list(torch.autograd.grad(value, weights))

    order = [names[id(p)] for p in weights]
    columns, leaves = list(batch.values()), [p.detach().clone().requires_grad_() for p in weights]
    try:
        with torch.random.fork_rng(devices=[]):
            # fake tensors have no values, so that control flow that hangs on the data is an error here
            graph = make_fx(both, tracing_mode="fake", _allow_non_fake_inputs=True)(leaves, columns)
            _widened(graph)
            with torch.no_grad(), warnings.catch_warnings():
                # deprecated for torch.compile, which would take twenty seconds for the same
                warnings.simplefilter("ignore", DeprecationWarning)
                given = [p.detach() for p in weights], columns
                return torch.jit.trace(lambda *lists: graph(*lists), given, check_trace=False, strict=False)
    except RuntimeError:  # an operation that cannot be recorded
        return None


def _program(graph: Any) -> Any:
    """The loop over steps, for TorchScript, which compiles it by its types and wants the lists whole: it loses moves of single items."""

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
                last = first + len(group)
                fused_move(kind, group, gradients[first:last], moment[0], moment[1], moment[2], rate, decay, momentum, nesterov)
                first = last
        return losses

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.script(steps)


# ---------------------------------------------------------------- wide products


def _onednn(a: Tensor, b: Tensor, bias: Tensor | None):
    return torch.ops.mkldnn._linear_pointwise(a, b.t(), bias, "none", [], "")


@functools.cache
def _scripted() -> Any:
    return torch.jit.script(_onednn)


def wide_product(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """a @ b + bias by oneDNN. a: (M, K), b: (K, N), bias: (N,). A script within: the recorder cannot spell the empty list itself."""
    return _scripted()(a, b, bias)


def _widened(graph: Any) -> None:
    """Lets oneDNN do the wide products of the graph, in the same precision."""
    aten = torch.ops.aten
    for node in graph.graph.nodes:
        if node.target in (aten.mm.default, aten.addmm.default) and not node.kwargs and torch.backends.mkldnn.is_available():
            *bias, a, b = node.args
            (m, k), n = a.meta["val"].shape, b.meta["val"].shape[1]
            if m * k * n >= WIDE and a.meta["val"].dtype == torch.float32 and all(each.meta["val"].dim() == 1 for each in bias):
                node.target, node.args = wide_product, (a, b, *bias)
    graph.recompile()
