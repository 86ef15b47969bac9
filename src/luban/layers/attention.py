"""The blocks of a Transformer: each token looks at the others, then thinks by itself.

Pre-norm, without learned norms or biases; rotary positions (Su et al. 2021, arXiv 2104.09864), normalised queries and keys, squared ReLU
(So et al. 2021, arXiv 2109.08668), projections that start at zero, so that each block begins as the identity: the choices that the
speedruns of GPT-2 have kept. Letters: B rows, T tokens, D width, H heads, d = D / H.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HEAD = 32
"""Width of a head where heads are not set."""


def usual_heads(width: int) -> int:
    """As many heads of HEAD as divide the width into even parts."""
    return next(heads for heads in range(max(1, width // HEAD), 0, -1) if width % (2 * heads) == 0 or heads == 1)


class Block(nn.Module):
    """x + attention, then x + the multilayer perceptron."""

    def __init__(self, D: int, heads: int, dropout: float, causal: bool = False):
        super().__init__()
        self.heads, self.dropout, self.causal = heads, dropout, causal
        self.qkv = nn.Linear(D, 3 * D, bias=False)
        self.mix = nn.Linear(D, D, bias=False)
        self.up = nn.Linear(D, 4 * D, bias=False)
        self.down = nn.Linear(4 * D, D, bias=False)
        nn.init.zeros_(self.mix.weight)
        nn.init.zeros_(self.down.weight)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, there: Tensor | None = None) -> Tensor:
        """there: (B, 1, 1, T) bool, the tokens that may be looked at; None for all, or with `causal` for those up to one's own."""
        x = x + F.dropout(self._attend(norm(x), cos, sin, there), self.dropout, self.training)
        return x + F.dropout(self.down(F.relu(self.up(norm(x))).square()), self.dropout, self.training)

    def _attend(self, x: Tensor, cos: Tensor, sin: Tensor, there: Tensor | None) -> Tensor:
        B, T, D = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)  # (B, H, T, d) each
        q, k = rotated(norm(q), cos, sin), rotated(norm(k), cos, sin)
        y = F.scaled_dot_product_attention(q, k, v, there, is_causal=self.causal)
        return self.mix(y.transpose(1, 2).reshape(B, T, D))


def norm(x: Tensor) -> Tensor:
    """To root mean square 1, without a learned scale: the next matrix can learn it."""
    return F.rms_norm(x, (x.shape[-1],))


def rotations(T: int, d: int) -> tuple[Tensor, Tensor]:
    """cos and sin of the angle of each position and pair of numbers, (T, d / 2)."""
    frequency = 10_000 ** (-torch.arange(0, d, 2) / d)
    angle = torch.outer(torch.arange(T).float(), frequency)
    return angle.cos(), angle.sin()


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Each pair of numbers turned by the angle of its position, so that products depend on distances alone. x: (B, H, T, d)."""
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos + b * sin, b * cos - a * sin], -1).type_as(x)
