"""The user's own network: any nn.Module that maps (B, F) floats, or pictures, to (B, outputs) takes the place of a model.

It gets the columns as one float matrix: numbers z-scored (missing ones 0, with a 0/1 column beside), ids one-hot, tokens as shares; F
follows from the schema alone. Where a picture is all that there is, it gets (B, C, H, W) floats of mean 0 and deviation 1 instead. It is
tried on two rows of zeros before training, so that a wrong shape is a sentence and not a traceback from the middle of an epoch. Not a
plug-in: it has no name, the user brings it.
"""

from __future__ import annotations

import copy
import inspect
from typing import Any

import torch
from torch import Tensor, nn

from luban.core.batch import Batch
from luban.core.contract import Head, Model, Schema
from luban.core.errors import UserError
from luban.core.notes import warn
from luban.layers.columns import Flat, of_kind
from luban.layers.pictures import Pixels, flops
from luban.layers.rules import training


class Own(Model):
    """A network of the user's, built or not, as a Model. Made by `adapt`."""

    accepts = frozenset({"scalar", "id", "tokens", "grid"})

    def __init__(self, config: Any, schema: Schema, head: Head, network: nn.Module | type[nn.Module]):
        super().__init__(config, schema, head)
        pictures = of_kind(schema, "grid")
        self.picture = next(iter(pictures)) if len(pictures) == len(schema.inputs) == 1 else None
        flat = Flat(schema, embed=False)
        self.flat = Pixels(pictures[self.picture]) if self.picture else flat
        shape: tuple[int, ...] = tuple(pictures[self.picture].shape) if self.picture else (flat.size,)
        self.network = _built(network, shape, head.size) if inspect.isclass(network) else network
        _try(self.network, shape, head)
        self._cost = flops(self.network, torch.zeros(2, *shape)) / 2
        for weight in self.network.parameters():  # a transposed or channels-last one: its moments could not be saved in a checkpoint
            weight.data = weight.data.contiguous()

    @classmethod
    def plan(cls, config: Any, schema: Schema, head: Head, n_rows: int, size: str) -> tuple[Any, dict[str, Any], dict[str, str]]:
        return config, *training(n_rows)

    def forward(self, batch: Batch) -> Tensor:
        out = self.network(self.flat(batch[self.picture] if self.picture else batch))
        return out.unsqueeze(1) if out.dim() == 1 else out

    def flops(self) -> float:
        return self._cost


def adapt(network: Any) -> type[Model]:
    """A Model class for `network`: an nn.Module, its class (built with (n_inputs, n_outputs), or with nothing); a Model class as it is."""
    if inspect.isclass(network) and issubclass(network, Model):
        return network
    if not isinstance(network, nn.Module) and not (inspect.isclass(network) and issubclass(network, nn.Module)):
        raise UserError(f"the model must be a torch.nn.Module or its class, not {network!r}.")

    class Adapted(Own):
        def __init__(self, config: Any, schema: Schema, head: Head):
            super().__init__(config, schema, head, network)

    Adapted.__name__ = network.__name__ if inspect.isclass(network) else type(network).__name__
    return Adapted


def _built(network: type[nn.Module], shape: tuple[int, ...], outputs: int) -> nn.Module:
    """Of one example's shape its first number is handed over: features, or the channels of a picture."""
    parameters = [each for each in list(inspect.signature(network.__init__).parameters.values())[1:]
                  if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]  # fmt: skip
    needed = sum(each.default is each.empty for each in parameters)
    sizes = len(parameters) > 1 and "in" in parameters[0].name and "out" in parameters[1].name  # n_inputs, in_features, in_channels
    if needed == 0 and not sizes:
        return network()
    if needed <= 2 <= len(parameters):
        return network(shape[0], outputs)
    names = ", ".join(each.name for each in parameters)
    raise UserError(
        f"{network.__name__}({names}) cannot be built here: its constructor must take (n_inputs, n_outputs) or nothing. "
        f"Or build it yourself, for {_words(shape)} and {outputs} outputs, and give the instance."
    )


def _words(shape: tuple[int, ...]) -> str:
    return f"{shape[0]} inputs" if len(shape) == 1 else f"pictures of shape {shape}"


def _hint(shape: tuple[int, ...]) -> str:
    return f"; n_inputs is the number of channels, {shape[0]}" if len(shape) > 1 else ""


def _try(network: nn.Module, shape: tuple[int, ...], head: Head) -> None:
    """Raises UserError where two examples of zeros do not come out as (2, head.size) floats. Leaves weights, norms and dice as they
    were."""
    name, given = type(network).__name__, (2, *shape)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        # eval on the network itself, which makes lazy layers know their sizes and changes nothing else; train on a copy
        for mode, tried in (("eval", network.eval()), ("train", None)):
            tried = tried if tried is not None else copy.deepcopy(network).train()
            try:
                out = tried(torch.zeros(given))
            except (RuntimeError, TypeError, ValueError, IndexError) as error:
                raise UserError(
                    f"{name} failed in {mode} mode on a batch of shape {given}, two rows of {_words(shape)}: "
                    f"{str(error).strip().splitlines()[0]}. Its first layer must take {_words(shape)}{_hint(shape)}."
                ) from error
            _check(out, name, mode, given, head)
    network.train()


def _check(out: Any, name: str, mode: str, given: tuple[int, ...], head: Head) -> None:
    must = f"(2, {head.size})" + (" or (2,)" if head.size == 1 else "")
    got = f"shape {tuple(out.shape)} and {out.dtype}" if isinstance(out, Tensor) else type(out).__name__
    if not isinstance(out, Tensor) or not out.is_floating_point() or out.shape not in ((2, head.size), *([(2,)] if head.size == 1 else [])):
        raise UserError(f"{name} in {mode} mode made {got} of a {given} batch; it must make floats of shape {must}, logits for classes.")
    if head.parts[0].kind == "classes" and len(head.parts) == 1 and bool((out >= 0).all() & ((out.sum(1) - 1).abs() < 1e-4).all()):
        warn(f"the outputs of {name} are positive and add up to 1, as if after a softmax; the loss takes logits: leave the softmax out.")
