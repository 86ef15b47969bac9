"""Optimisers by name: torch's own kernels, stepped over one flat buffer where the model is small, resumable bit for bit.

`build("adamw", model, lr)` groups the parameters (no weight decay on biases, norms and other 1-D weights), lays small models out
as views of one tensor, gradients too, and wraps torch.optim. For a small network a step is Python and kernel launches, not
arithmetic: one tensor means one kernel to step, one to clear the gradients, one to take their norm.
Build after the model is on its device: `model.to()` afterwards would part the weights from the buffer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adagrad import adagrad
from torch.optim.adam import adam
from torch.optim.rmsprop import rmsprop
from torch.optim.sgd import sgd

from luban.core.errors import UserError, did_you_mean, listed
from luban.core.notes import say, warn

FUSED = {"sgd": ("momentum_buffer", "", ""), "adam": ("exp_avg", "exp_avg_sq", "step"), "adamw": ("exp_avg", "exp_avg_sq", "step")}
"""Those with one kernel for the whole move, and what it keeps for each weight."""

NAMES = ("sgd", "adagrad", "rmsprop", "adam", "adamw", "muon")

FLAT_LIMIT = 100_000
"""Weights. Below it a clipped AdamW step costs .08 ms for .12 (8 tensors) or .09 for .20 (22 tensors), on one core. Above it arithmetic
hides the calls, and a flat buffer loses some 5 %: its gradients are written twice (cleared, then added to)."""

_ALIGN = 64  # elements between views: 256 bytes in float32, so that every view starts where the fastest matmul kernels want it


def build(name: str, model: nn.Module, lr: float, *, momentum: float = 0.9, nesterov: bool = False,
          weight_decay: float = 0.0, flat: bool | None = None) -> Optimiser:  # fmt: skip
    """The optimiser `name` over the trainable parameters of `model`.

    momentum: of sgd, rmsprop and muon; the others have their own. weight_decay: decoupled in adamw and muon, L2 in the others.
    flat: unset decides by FLAT_LIMIT. In a flat buffer a weight that got no gradient counts as one whose gradient is 0.
    """
    if name not in NAMES:
        raise UserError(f"there is no optimizer {name!r}.{did_you_mean(name, NAMES)} There are: {listed(NAMES)}.")
    _check_momentum(name, momentum, nesterov)
    hidden = _hidden_matrices(model) if name == "muon" else []
    taken = {id(weight) for weight in hidden}
    rest = {key: p for key, p in model.named_parameters() if p.requires_grad and id(p) not in taken}
    if any(getattr(module, "sparse", False) for module in model.modules()) and (weight_decay or (momentum and name in ("sgd", "rmsprop"))):
        say("a table of embeddings is moved by the rows that are read, without decay and without momentum")
    buffers, groups = [], []
    for members, decay in _by_decay(model, rest, weight_decay):
        small = sum(p.numel() for p in members) <= FLAT_LIMIT
        stepped = list(members)
        if flat or (flat is None and small and len(members) > 1):
            made = [_Buffer(alike) for alike in _alike(members)]
            buffers += made
            # channels-last and other strided weights keep their own place
            stepped = [buffer.weights for buffer in made] + [p for p in members if not p.is_contiguous()]
        groups.append({"params": stepped, "weight_decay": decay})
    wrapped: list[Any] = [_Elementwise(name, groups, lr, momentum, nesterov)] if rest else []
    if hidden:
        # match_rms_adamw scales the orthogonal step to the size of AdamW's, so that one lr and one weight decay serve both
        # (Liu et al. 2025, "Muon is scalable for LLM training", arXiv:2502.16982, section 2.2)
        wrapped.append(torch.optim.Muon(hidden, lr=lr, weight_decay=weight_decay, momentum=momentum, nesterov=True,
                                        adjust_lr_fn="match_rms_adamw"))  # fmt: skip
    return Optimiser(wrapped, buffers)


class Optimiser:
    """Steps, clears, clips; its whole state is a flat dict of tensors."""

    def __init__(self, wrapped: Sequence[Any], buffers: Sequence[_Buffer]):
        self._wrapped = wrapped
        self._buffers = buffers
        self.weights = [p for one in wrapped for group in one.param_groups for p in group["params"]]
        """What is stepped: flat buffers, or parameters where the model is large. For an average of weights: one lerp each."""

    @property
    def fused(self) -> bool:
        """Is all of its move one kernel, on the parameters themselves?"""
        one = self._wrapped[0]
        plain = not self._buffers and all(weight.is_contiguous() for weight in self.weights)
        return plain and len(self._wrapped) == 1 and isinstance(one, _Elementwise) and one.name in FUSED

    def lists(self) -> tuple[list[list[Tensor]], list[list[list[Tensor]]], list[float], str, float, bool]:
        """Weights, moments and decays by group, then kind, momentum, nesterov; for who calls the kernel himself. Only where `fused`."""
        one, first, moments = self._wrapped[0], 0, []
        for group in one.param_groups:
            states = one.states(group["params"], range(first, first + len(group["params"])))
            first += len(states)
            moments.append([[state[key] for state in states if key in state] for key in FUSED[one.name]])
        groups, decays = [group["params"] for group in one.param_groups], [float(group["weight_decay"]) for group in one.param_groups]
        return groups, moments, decays, one.name, one.momentum, one.nesterov

    def step(self) -> None:
        """Moves the weights by their gradients."""
        self._gather()
        for one in self._wrapped:
            one.step()

    def zero_grad(self) -> None:
        for weight in self.weights:
            weight.grad = None
        for buffer in self._buffers:
            buffer.weights.grad = buffer.grads.zero_()

    def clip(self, most: float) -> Tensor:
        """Scales all gradients so that their common norm is at most `most`. Returns the norm before, still on its device (no sync)."""
        self._gather()
        for weight in self.weights:
            if weight.grad is not None and weight.grad.is_sparse:
                weight.grad = weight.grad.coalesce()
        grads = [g.values() if (g := weight.grad).is_sparse else g for weight in self.weights if weight.grad is not None]
        norm = torch.nn.utils.get_total_norm(grads)
        # torch's own clip_grads_with_norm_ wants parameters; the constant is its guard against dividing by 0
        torch._foreach_mul_(grads, (most / (norm + 1e-6)).clamp(max=1.0))
        return norm

    def set_lr(self, lr: float) -> None:
        for one in self._wrapped:
            for group in one.param_groups:
                group["lr"] = lr

    def tensors(self) -> dict[str, Tensor]:
        """The full state, for a safetensors file. Not copied: write it or clone it before the next step."""
        return {f"{which}.{place}.{key}": value for which, one in enumerate(self._wrapped)
                for place, state in one.state_dict()["state"].items() for key, value in state.items()}  # fmt: skip

    def load(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `tensors`, into an optimiser built alike. What follows is bit-equal to a run that was never stopped."""
        states: list[dict[int, dict[str, Tensor]]] = [{} for _ in self._wrapped]
        for path, value in tensors.items():
            which, place, key = path.split(".")
            states[int(which)].setdefault(int(place), {})[key] = value.clone()
        for one, state in zip(self._wrapped, states, strict=True):
            one.load_state_dict({"state": state, "param_groups": one.state_dict()["param_groups"]})

    def _gather(self) -> None:
        for buffer in self._buffers:
            buffer.gather()


# ---------------------------------------------------------------- one flat buffer


class _Buffer:
    """Parameters laid out as views of one tensor, and their gradients as views of another."""

    def __init__(self, parameters: Sequence[nn.Parameter]):
        starts, end = [], 0
        for p in parameters:
            starts.append(end)
            end += -(-p.numel() // _ALIGN) * _ALIGN
        self.weights = nn.Parameter(parameters[0].new_zeros(end))
        self.grads = torch.zeros_like(self.weights)  # the gaps between views stay 0 in both, for ever
        self.weights.grad = self.grads
        self.views = []
        for p, start in zip(parameters, starts, strict=True):
            view = self.weights.data[start : start + p.numel()].view(p.shape)
            view.copy_(p.data)
            p.data = view
            p.grad = self.grads[start : start + p.numel()].view(p.shape)
            self.views.append((p, p.grad))

    def gather(self) -> None:
        """Takes in gradients that autograd put elsewhere: sparse ones, or those of a loop that sets .grad to None itself."""
        for p, view in self.views:
            if p.grad is not view:
                if p.grad is None:
                    view.zero_()
                else:
                    view.copy_(p.grad.to_dense())
                p.grad = view


def _alike(parameters: Iterable[nn.Parameter]) -> list[list[nn.Parameter]]:
    """The contiguous parameters, in groups that may share a buffer: of one type, on one device."""
    found: dict[tuple[torch.dtype, torch.device], list[nn.Parameter]] = {}
    for p in parameters:
        if p.is_contiguous():
            found.setdefault((p.dtype, p.device), []).append(p)
    return list(found.values())


# ---------------------------------------------------------------- which parameter gets what


def _by_decay(model: nn.Module, named: dict[str, nn.Parameter], decay: float) -> list[tuple[list[nn.Parameter], float]]:
    """[(parameters, their weight decay)]. A bias or a scale has no direction to shrink in: decaying it only moves the function."""
    if decay == 0:
        return [(list(named.values()), 0.0)]
    norms = {id(p) for module in model.modules() if "Norm" in type(module).__name__ for p in module.parameters(recurse=False)}
    alone = {key for key, p in named.items() if p.dim() < 2 or key.endswith("bias") or id(p) in norms}
    return [([p for key, p in named.items() if key not in alone], decay), ([p for key, p in named.items() if key in alone], 0.0)]


def _hidden_matrices(model: nn.Module) -> list[nn.Parameter]:
    """Weights of all nn.Linear but the first and the last, in the order in which the model declares them.

    Muon's theory is for matrices between hidden layers; embeddings, inputs and outputs do better with AdamW
    (Jordan 2024, kellerjordan.github.io/posts/muon). Other matrices (scales of ensemble members, recurrent weights) stay with AdamW.
    """
    linear = {id(module.weight) for module in model.modules() if isinstance(module, nn.Linear)}
    hidden = [p for p in [p for p in model.parameters() if id(p) in linear][1:-1] if p.requires_grad]
    if not hidden:
        warn("muon moves the matrices between hidden layers and this model has none, so that adamw moves all of it.")
    return hidden


# ---------------------------------------------------------------- torch's optimisers


class _Elementwise:
    """torch's functional optimisers, by the interface of its Optimizer. That class loads torch's compiler at its first step, .9 s of every
    training for nothing, and costs 15 us of every step."""

    def __init__(self, name: str, groups: Sequence[dict[str, Any]], lr: float, momentum: float, nesterov: bool):
        self.name, self.momentum, self.nesterov = name, momentum, nesterov
        self.param_groups = [{**group, "lr": lr} for group in groups if group["params"]]
        self.state: dict[int, dict[str, Tensor]] = {}
        """By the place of the parameter, counted over all groups."""

    @torch.no_grad()
    def step(self) -> None:
        first = 0
        for group in self.param_groups:
            moved = [(first + i, p) for i, p in enumerate(group["params"]) if p.grad is not None]
            first += len(group["params"])
            for place, p in moved:
                if p.grad.is_sparse:
                    self._move_rows(p, self.states([p], [place])[0], group["lr"])
            if moved := [(place, p) for place, p in moved if not p.grad.is_sparse]:
                params = [p for _, p in moved]
                self._move(params, self.states(params, [place for place, _ in moved]), group["lr"], group["weight_decay"])

    def states(self, params: Sequence[Tensor], places: Iterable[int]) -> list[dict[str, Tensor]]:
        """What is kept for each weight; begun with zeros where it was not moved yet."""
        for place, p in zip(places, params, strict=True):
            if place not in self.state:
                self.state[place] = self._fresh(p)
        return [self.state[place] for place in places]

    def _fresh(self, p: Tensor) -> dict[str, Tensor]:
        momentum = ("momentum_buffer",) if self.momentum else ()
        names = {"sgd": momentum, "adagrad": ("sum",), "rmsprop": ("square_avg", *momentum)}.get(self.name, ("exp_avg", "exp_avg_sq"))
        state = {name: torch.zeros_like(p) for name in names}
        if self.name != "sgd":
            on_device = self.name in ("adam", "adamw")  # their fused kernels count there
            state["step"] = torch.zeros((), device=p.device if on_device else None)
        return state

    def _move(self, params: list[Tensor], states: list[dict[str, Tensor]], lr: float, decay: float) -> None:
        """One call of a kernel. fused: all of the update in one; torch has it for these, but does not choose it by itself on a CPU."""

        def of(key: str) -> list[Tensor]:
            return [state[key] for state in states if key in state]

        grads, kind = [p.grad for p in params], params[0].device.type
        fused = True if kind == "cpu" or (kind == "cuda" and self.name != "adagrad") else None
        if self.name == "sgd":
            sgd(params, grads, of("momentum_buffer") or [None] * len(params), fused=fused, weight_decay=decay, momentum=self.momentum,
                lr=lr, dampening=0.0, nesterov=self.nesterov, maximize=False)  # fmt: skip
        elif self.name == "adagrad":
            adagrad(params, grads, of("sum"), of("step"), fused=fused, lr=lr, weight_decay=decay, lr_decay=0.0, eps=1e-10, maximize=False)
        elif self.name == "rmsprop":
            rmsprop(params, grads, of("square_avg"), [], of("momentum_buffer"), of("step"), lr=lr, alpha=0.99, eps=1e-8, weight_decay=decay,
                    momentum=self.momentum, centered=False)  # fmt: skip
        else:
            adam(params, grads, of("exp_avg"), of("exp_avg_sq"), [], of("step"), fused=fused, decoupled_weight_decay=self.name != "adam",
                 amsgrad=False, beta1=0.9, beta2=0.999, lr=lr, weight_decay=decay, eps=1e-8, maximize=False)  # fmt: skip

    def _move_rows(self, p: Tensor, state: dict[str, Tensor], lr: float) -> None:
        """The rows of a table of embeddings that a batch has read, and only they: a step costs what its rows cost, however large the table.
        Moments of the others stand still, as in torch's SparseAdam; neither decay nor momentum."""
        grad = p.grad.coalesce()  # nothing is done where `clip` has done it
        at, g = grad.indices()[0], grad.values()
        if self.name == "sgd":
            p.index_add_(0, at, g, alpha=-lr)
            return
        state["step"] += 1
        n, kept = float(state["step"]), {key: value.index_select(0, at) for key, value in state.items() if key != "step"}
        if self.name in ("adagrad", "rmsprop"):
            seen = kept["sum"].addcmul_(g, g) if self.name == "adagrad" else kept["square_avg"].mul_(0.99).addcmul_(g, g, value=0.01)
            move, rate = g / (seen.sqrt() + 1e-8), lr
        else:
            first, second = kept["exp_avg"].lerp_(g, 0.1), kept["exp_avg_sq"].mul_(0.999).addcmul_(g, g, value=0.001)
            move, rate = first / ((second / (1 - 0.999**n)).sqrt_() + 1e-8), lr / (1 - 0.9**n)
        for key, value in kept.items():
            state[key].index_copy_(0, at, value)
        p.index_add_(0, at, move, alpha=-rate)

    def state_dict(self) -> dict[str, Any]:
        return {"state": self.state, "param_groups": []}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.state = saved["state"]


def _check_momentum(name: str, momentum: float, nesterov: bool) -> None:
    if not 0 <= momentum < 1:
        raise UserError(f"momentum must be at least 0 and below 1, not {momentum!r}.")
    if nesterov and name == "sgd" and momentum == 0:
        raise UserError("nesterov looks ahead along the momentum, which is 0 here: set train.momentum=0.9, or leave nesterov out.")
    if nesterov and name not in ("sgd", "muon"):
        warn(f"nesterov is left out: {name} has no such variant (sgd has it; muon always uses it).")
