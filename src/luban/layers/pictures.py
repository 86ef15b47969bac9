"""Pictures as a network wants them: bytes (B, C, H, W) become floats of mean 0 and deviation 1 a channel; in training they are moved first.

Everything is done on the whole batch at once, on its device, with torch's global generator, so that a resumed run draws the same
numbers. Moving and mirroring are one gather: .05 ms for 32 grey pictures of 28 x 28 on one core, a hundredth of a small network's step.
Letters: B pictures, C channels, H rows, W columns.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from luban.core.batch import Examples
from luban.core.contract import Head
from luban.core.errors import UserError, did_you_mean, listed
from luban.core.notes import say
from luban.layers.heads import truth

KINDS = {
    "flip": "half of the pictures mirrored, left to right",
    "auto_flip": "as flip, if mirrored training pictures look like those of their own class",
    "shift": "moved by up to a twelfth of the side, the border mirrored (elsewhere called a random crop)",
    "affine": "turned by up to 10 degrees and scaled by up to 15 %",
    "erase": "a square of a third of the side painted over in half of the pictures",
}
"""What `model.augment` may name."""

SHIFT, TURN, SCALE, ERASED = 1 / 12, math.radians(10), 0.15, 1 / 3
LOOKED_AT = 4_000
"""Training pictures by which auto_flip is decided; half of them give the classes' means, half are tried."""
LOOKED_AT_BYTES = 200_000_000
KEPT = 0.8
"""Share of a nearest-mean classifier's accuracy that must be left on mirrored pictures. Measured on 500 to 4,000 pictures: digits .25-.39,
MNIST .63-.65, Fashion-MNIST .86-.89 (its shoes all face left, which .95 would not forgive, and flips help there), CIFAR-10 .98-1."""


def check_augment(names: tuple[str, ...] | None) -> None:
    """Raises UserError for a name that is none of KINDS."""
    for name in names or ():
        if name not in KINDS:
            raise UserError(f"model.augment cannot hold {name!r}.{did_you_mean(name, KINDS)} It takes {listed(KINDS)}; [] for none.")


class Pixels(nn.Module):
    """uint8 (B, C, H, W) -> float (B, C, H, W), channels last in memory."""

    mean: Tensor
    scale: Tensor
    mirrored: Tensor

    def __init__(self, field: Any, augment: tuple[str, ...] = ()):
        super().__init__()
        self.shape, self.augment = field.shape, frozenset(augment)
        # the schema knows them; buffers only so that they go to the device
        self.register_buffer("mean", 255 * torch.tensor(field.mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("scale", 1 / (255 * torch.tensor(field.std)).clamp(min=1).view(-1, 1, 1), persistent=False)
        if "auto_flip" in self.augment:
            self.register_buffer("mirrored", torch.zeros(()))  # the share that is mirrored; filled by `look`

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.augment:
            x = self.augmented(x)
        # `.contiguous` would do nothing where there is one channel, as both orders of memory are the same; the strides are not, and they
        # tell the convolutions behind which order to take: twice as fast in bf16
        return x.to(torch.float32, memory_format=torch.channels_last, copy=True).sub_(self.mean).mul_(self.scale)

    def augmented(self, x: Tensor) -> Tensor:
        """The batch moved, mirrored, turned and erased as `augment` says; uint8 as before."""
        if self.augment & {"flip", "auto_flip", "shift"}:
            x = self._moved(x)
        if "affine" in self.augment:
            x = _turned(x)
        return self._erased(x) if "erase" in self.augment else x

    def _moved(self, x: Tensor) -> Tensor:
        """Each pixel is taken from elsewhere in its picture: one gather for shift and mirror together."""
        B, C, H, W = x.shape
        rows, columns = torch.arange(H, device=x.device).expand(B, H), torch.arange(W, device=x.device).expand(B, W)
        if "shift" in self.augment:
            rows, columns = _slid(rows), _slid(columns)
        if self.augment & {"flip", "auto_flip"}:
            share = 0.5 if "flip" in self.augment else self.mirrored
            columns = torch.where(torch.rand(B, 1, device=x.device) < share, W - 1 - columns, columns)
        at = (rows.unsqueeze(2) * W + columns.unsqueeze(1)).view(B, 1, H * W)
        return x.flatten(2).gather(2, at.expand(-1, C, -1)).view(x.shape)

    def _erased(self, x: Tensor) -> Tensor:
        """Cutout (DeVries and Taylor 2017, arXiv 1708.04552), with the mean colour; the square may hang over the border."""
        B, _, H, W = x.shape
        half = max(H, W) * ERASED / 2
        at = torch.rand(3, B, 1, device=x.device)
        rows = (torch.arange(H, device=x.device) + 0.5 - at[0] * H).abs() < half  # (B, H)
        columns = (torch.arange(W, device=x.device) + 0.5 - at[1] * W).abs() < half
        hidden = (rows & (at[2] < 0.5)).unsqueeze(2) & columns.unsqueeze(1)
        return torch.where(hidden.unsqueeze(1), self.mean.round().to(x.dtype), x)

    # ---- looking

    def look(self, train: Examples, key: str, head: Head) -> None:
        """Decides whether mirrored pictures are plausible, and says so."""
        if "auto_flip" not in self.augment:
            return
        # rows may come sorted, or the classes in turn; a generator of its own, so that no other draw depends on this look
        most = min(LOOKED_AT, max(200, LOOKED_AT_BYTES // math.prod(self.shape)))
        batch = train[torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:most]]
        part = next((part for part in head.parts if part.kind in ("classes", "binary")), None)
        if part is None:
            say(f"pictures are not mirrored: without classes nothing tells whether that is plausible ({_how_to('flip')})")
            return
        y, rows = truth(batch, part)
        plain, mirrored = mirrors(batch[key][torch.from_numpy(rows)], torch.from_numpy(y))
        plausible = mirrored >= KEPT * plain
        self.mirrored.fill_(0.5 if plausible else 0.0)
        found = f"the nearest class mean is right for {plain:.0%} of them as they are and for {mirrored:.0%} mirrored"
        say(f"pictures are {'mirrored in half of the cases' if plausible else 'not mirrored'}: {found}"
            f" ({_how_to('' if plausible else 'flip')})")  # fmt: skip


def _how_to(name: str) -> str:
    return f"--set model.augment=[{name}] to decide it yourself"


def mirrors(x: Tensor, y: Tensor) -> tuple[float, float]:
    """How often the nearest class mean is right, on pictures as they are and on mirrored ones. x: uint8 (N, C, H, W), y: (N,) from 0.

    Even rows give the means, odd rows are tried; both at 16 x 16 at most.
    """
    side = min(16, x.shape[2]), min(16, x.shape[3])
    x = torch.cat([F.adaptive_avg_pool2d(piece.float(), side) for piece in x.split(64)])  # large ones as floats are four times as large
    known, tried = x[::2], x[1::2]
    classes = int(y.max()) + 1
    means = torch.zeros(classes, known[0].numel()).index_add_(0, y[::2], known.flatten(1))
    count = torch.bincount(y[::2], minlength=classes).unsqueeze(1)
    means = torch.where(count > 0, means / count.clamp(min=1), math.inf)

    def right(pictures: Tensor) -> float:
        distance = (means.square().sum(1) - 2 * pictures.flatten(1) @ means.nan_to_num(posinf=0.0).T).nan_to_num(nan=math.inf)
        return float((distance.argmin(1) == y[1::2]).float().mean())

    return right(tried), right(tried.flip(3))


# ---------------------------------------------------------------- moving


def _slid(places: Tensor) -> Tensor:
    """Each row of places (B, n), 0..n-1, moved by its own whole number; beyond the border it goes back inwards."""
    n = places.shape[1]
    most = min(n - 1, max(1, round(n * SHIFT)))
    places = (places + torch.randint(-most, most + 1, (len(places), 1), device=places.device)).abs()
    return n - 1 - (n - 1 - places).abs()


def _turned(x: Tensor) -> Tensor:
    B = len(x)
    turn, scale = (torch.rand(2, B, device=x.device) * 2 - 1).unbind()
    cos, sin = torch.cos(turn * TURN), torch.sin(turn * TURN)
    grown, zero = torch.exp(scale * SCALE), torch.zeros(B, device=x.device)
    theta = torch.stack([cos * grown, -sin * grown, zero, sin * grown, cos * grown, zero], 1).view(B, 2, 3)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    moved = F.grid_sample(x.float(), grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return moved.round().to(x.dtype)


# ---------------------------------------------------------------- what looking costs


class Counter(TorchDispatchMode):
    """Adds up torch's own formulas in `total`. torch's FlopCounterMode does so too, and loads the compiler first: a second."""

    total: float = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # to be skipped, too, loads the compiler

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if func.overloadpacket in flop_registry:
            self.total += flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=made)
        return made


def flops(network: nn.Module, x: Tensor) -> float:
    """Of network(x), in eval mode. Leaves mode and dice as they were."""
    training = network.training
    with torch.random.fork_rng(devices=[]), torch.no_grad(), Counter() as counter:
        network.eval()(x)
    network.train(training)
    return float(counter.total)
