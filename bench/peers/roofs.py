"""What this machine can do at best, measured before anything else is: the denominators. Run by bench/pictures.py in luban's own venv.

Each figure is the best of several medians, with one thread and with all; the better of the two is the roof.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable

import spawned
import torch

BATCH, LAYERS = 32, [(784, 128), (128, 128), (128, 10)]


def seconds(act: Callable[[], object], times: int) -> float:
    """Of one call."""
    act()
    medians = []
    for _ in range(5):
        marks = [time.perf_counter()]
        for _ in range(times):
            act()
            marks.append(time.perf_counter())
        medians.append(statistics.median(after - before for before, after in itertools.pairwise(marks)))
    return min(medians)


def products() -> Callable[[], object]:
    """The eight products of one step of the mlp: forward, gradients of the weights, gradients of the inputs but the first."""
    pairs = []
    for i, (n, m) in enumerate(LAYERS):
        x, w, g = torch.randn(BATCH, n), torch.randn(n, m), torch.randn(BATCH, m)
        pairs += [(x, w), (x.t(), g)] + ([(g, w.t())] if i else [])
    return lambda: [torch.mm(a, b) for a, b in pairs]


def adam() -> Callable[[], object]:
    """Fused Adam over the mlp's weights as one tensor, and nothing else."""
    weight = torch.nn.Parameter(torch.randn(sum(n * m + m for n, m in LAYERS)))
    weight.grad = torch.randn_like(weight)
    return torch.optim.Adam([weight], lr=1e-3, fused=True).step


most, found = torch.get_num_threads(), {}
big = {kind: torch.randn(2048, 2048).to(kind) for kind in (torch.float32, torch.bfloat16)}
small = torch.randn(BATCH, 784), torch.randn(784, 128)
acts = {
    "mm_fp32": (lambda: torch.mm(big[torch.float32], big[torch.float32]), 5),
    "mm_bf16": (lambda: torch.mm(big[torch.bfloat16], big[torch.bfloat16]), 5),
    "small_mm": (lambda: torch.mm(*small), 500),
    "mlp_products": (products(), 200),
    "mlp_adam": (adam(), 200),
}
for name, (act, times) in acts.items():
    for threads in sorted({1, most}):
        torch.set_num_threads(threads)
        found.setdefault(name, {})[threads] = seconds(act, times)
spawned.tell(threads=most, torch=torch.__version__, seconds=found)
