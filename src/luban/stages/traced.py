"""A step of a small network without Python: loss and gradients as one recorded graph, for batches of one shape.

A small step is calls, not arithmetic: 784-128-128-10 at batch 32 takes 370 us by autograd, of which 180 are products, and 300 recorded.
What was recorded is held against autograd on another batch before it is used; what cannot be recorded (a batch of another shape, buffers
that move, control flow that hangs on the data) is stepped as ever.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from luban.core.batch import Batch
from luban.core.contract import Head, Model, Task

SMALL = 2e8
"""FLOPs of a step up to which calls weigh more than arithmetic."""
LONG = 10_000
"""Steps from which recording, which takes about a second, is repaid."""


class _Loss(nn.Module):
    """task.loss as a module, so that its parameters can be handed in."""

    def __init__(self, model: Model, task: Task, head: Head):
        super().__init__()
        self.model, self.task, self.head = model, task, head

    def forward(self, batch: Batch) -> Tensor:
        return self.task.loss(self.model, batch, self.head)[0]


class Traced:
    """`backward(batch)` gives the loss of a batch that `fits`, and leaves its gradients in `.grad`. Not `usable` where recording failed."""

    def __init__(self, model: Model, task: Task, head: Head, batch: Batch, other: Batch):
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        plain = all(isinstance(value, Tensor) and value.device.type == "cpu" for value in batch.values())
        self.graph = _recorded(_Loss(model, task, head), self.parameters, batch) if plain else None
        self.shapes = {key: (value.shape, value.dtype) for key, value in batch.items()} if plain else {}
        self.usable = self.graph is not None and self._agrees(model, task, head, other)

    def fits(self, batch: Batch) -> bool:
        """Has it the recorded shape?"""
        return self.usable and all((value.shape, value.dtype) == self.shapes[key] for key, value in batch.items())

    def backward(self, batch: Batch) -> Tensor:
        with torch.no_grad():
            loss, *gradients = self.graph(*self.parameters, *batch.values())
        for p, gradient in zip(self.parameters, gradients, strict=True):
            p.grad = gradient
        return loss

    def _agrees(self, model: Model, task: Task, head: Head, batch: Batch) -> bool:
        """Does it say what autograd says of another batch, with the same random numbers?"""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            mine = self.backward(batch)
            gradients = [p.grad for p in self.parameters]
            torch.manual_seed(0)
            before = [buffer.clone() for buffer in model.buffers()]
            loss = task.loss(model, batch, head)[0]
            theirs = torch.autograd.grad(loss, self.parameters, allow_unused=True)
        for p in self.parameters:
            p.grad = None
        still = all(torch.equal(a, b) for a, b in zip(before, model.buffers(), strict=True))
        pairs = [(mine, loss.detach()), *zip(gradients, theirs, strict=True)]
        return still and all(b is not None and torch.allclose(a, b, rtol=1e-3, atol=1e-5) for a, b in pairs)


def _recorded(loss: _Loss, parameters: list[nn.Parameter], batch: Batch) -> Any:
    """The graph of (parameters, columns) -> (loss, gradients), run by TorchScript; None where the model does not allow it."""
    from torch.fx.experimental.proxy_tensor import make_fx  # half a second, which few runs need

    names = {id(p): name for name, p in loss.named_parameters()}

    def both(*inputs: Tensor) -> tuple[Tensor, ...]:
        mine, columns = inputs[: len(parameters)], dict(zip(batch, inputs[len(parameters) :], strict=True))
        value = torch.func.functional_call(loss, {names[id(p)]: each for p, each in zip(parameters, mine, strict=True)}, (columns,))
        return value, *torch.autograd.grad(value, mine)

    leaves = [p.detach().clone().requires_grad_() for p in parameters]
    try:
        with torch.random.fork_rng(devices=[]):
            # fake tensors have no values, so that control flow that hangs on the data is an error here
            graph = make_fx(both, tracing_mode="fake", _allow_non_fake_inputs=True)(*leaves, *batch.values())
            with torch.no_grad(), warnings.catch_warnings():
                # deprecated for torch.compile, which would take twenty seconds for the same
                warnings.simplefilter("ignore", DeprecationWarning)
                return torch.jit.trace(graph, (*(p.detach() for p in parameters), *batch.values()), check_trace=False)
    except RuntimeError:  # an operation that cannot be recorded
        return None
