"""THE loop, once, for every model that is stepped: batches -> loss -> backward -> step -> now and then evaluate -> now and then save.

Killed at any moment and resumed, it ends with the same bits on a CPU: the order of examples is a pure function of (seed, epoch), all
other state is in the last checkpoint, and nothing that is computed depends on the time of day or on when a checkpoint was written.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import itertools
import json
import math
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from luban import optim
from luban.bundle import judge, tensors_of
from luban.core.batch import to_device
from luban.core.contract import Model
from luban.core.errors import UserError
from luban.core.files import atomic
from luban.core.notes import say
from luban.data import alike, shuffled
from luban.folders import RunFolder
from luban.metrics import better
from luban.optim.schedules import multiplier
from luban.planning import TrainConfig, steps_per_epoch
from luban.splitting import TRAIN, VALID
from luban.stages.clock import Interrupted, RunClock
from luban.stages.prepare import Prepared
from luban.stages.traced import LONG, MOST, SMALL, Loss, Traced

_SAVE_EVERY = 0.2
"""Seconds between checkpoints at least; more where one costs over 2 % of that."""
_DISK, _LARGE = 2e8, 64e6
"""Bytes a second that a large one (bytes) is written with, until the first has shown it; written at once it would save no work."""


class Hooks(Protocol):
    """What may watch a run. No more than this, and nothing that it does can change the run."""

    def on_step(self, name: str, step: int, total: int) -> None: ...
    def on_eval(self, line: dict[str, Any]) -> None: ...
    def on_end(self, name: str) -> None: ...


@dataclass
class Job:
    """One model to be stepped, and all that it takes."""

    name: str
    model: Model
    data: Prepared
    config: TrainConfig
    folder: RunFolder
    device: torch.device

    @property
    def checkpoints(self) -> Path:
        return self.folder.checkpoints / re.sub(r"[^\w.-]", "_", self.name)


@dataclass
class State:
    """Where training stands; with the tensors, all that a checkpoint holds."""

    step: int = 0
    steps: int = 0
    """Of the whole training; fewer than planned where a time limit turned out to be tighter."""
    best: float | None = None
    best_step: int = 0
    since_best: int = 0
    seconds: float = 0.0
    finished: bool = False
    traced: bool | None = None
    """Are its steps recorded? Decided once, so that a resumed run takes the same way."""


# ---------------------------------------------------------------- the loop


def fit(job: Job, clock: RunClock, hooks: Hooks) -> State:
    """Trains job.model in place; it ends with its best weights by job.data.metric on the validation rows."""
    c, data, model = job.config, job.data, job.model.to(job.device)
    train = data.examples[TRAIN]
    torch.set_num_threads(c.threads)
    torch.manual_seed(data.config.seed)
    # what is evaluated and saved: the moving average of the weights where one is kept, else the weights
    shadow = copy.deepcopy(model) if c.ema else model
    small = _small(job)
    optimiser = _optimiser(c, model, flat=False if small else None)
    losses = torch.zeros(c.eval_every, device=job.device)  # read once per evaluation: `.item()` each step would wait for the device
    per_epoch = steps_per_epoch(len(train), c)
    files = Checkpoints(job.checkpoints)
    state = files.resume(model, shadow, optimiser, losses) or State(steps=c.steps)
    job.folder.forget_lines(job.name, after=state.step)
    size = 3 * sum(value.nbytes for value in model.state_dict().values())  # weights and two moments of each
    began, due = time.perf_counter() - state.seconds, time.perf_counter() + (50 * size / _DISK if size > _LARGE else _SAVE_EVERY)
    order, epoch = torch.empty(0), -1
    model.train()
    traced = _traced(job, model, optimiser, state.traced) if small else None
    state.traced = traced is not None
    entered, began_at = time.perf_counter(), state.step
    warm = state.step + (3 * MOST if traced else 0)  # TorchScript makes its program faster in the first calls

    while not state.finished:
        # ---- one step, or as many as are recorded
        if state.step // per_epoch != epoch:
            epoch = state.step // per_epoch
            order = shuffled(len(train), data.config.seed, epoch, c.shuffle)
            if model.ragged:
                order = alike(order, train.lengths, c.batch_size, data.config.seed, epoch)
        at, taken = state.step % c.eval_every, _ahead(state, per_epoch, c) if traced else 1
        rates = [c.lr * multiplier(c.schedule, step, state.steps, c.warmup) for step in range(state.step, state.step + taken)]
        first = state.step % per_epoch
        stop = None if first + taken == per_epoch else (first + taken) * c.batch_size  # the last step takes what is left
        if traced and traced.fits(batch := train[order[first * c.batch_size : stop]], taken):
            losses[at : at + taken] = traced.steps(batch, optimiser, rates, c.clip)
        else:
            taken = 1
            losses[at] = _step(job, model, optimiser, _pieces(order, first, per_epoch, c), rates[0])
        if shadow is not model:
            _follow(shadow, model, c.ema, state.step)
        state.step += taken
        hooks.on_step(job.name, state.step, state.steps)
        if state.step <= warm:
            entered, began_at = time.perf_counter(), state.step
        elif state.step % min(20, c.eval_every) < taken and clock.limit < math.inf:
            each = (time.perf_counter() - entered) / (state.step - began_at)
            state.steps = min(state.steps, state.step + max(0, int(0.8 * clock.seconds_left() / each)))
        if state.step % 200 < taken:
            _check_finite(losses[: (state.step - 1) % c.eval_every + 1], state.step, job)

        # ---- once in a while: evaluate
        if state.step % c.eval_every == 0 or state.step == state.steps:
            seen = losses[: (state.step - 1) % c.eval_every + 1]
            _check_finite(seen, state.step, job)
            value = score(job, shadow)
            state.seconds = time.perf_counter() - began
            line = {
                "model": job.name,
                "step": state.step,
                "epoch": round(state.step / per_epoch, 3),
                "train_loss": float(seen.mean()),
                job.data.metric: value if math.isfinite(value) else None,
                "lr": c.lr * multiplier(c.schedule, state.step - 1, state.steps, c.warmup),
                "examples_per_second": round(state.step * c.batch_size * c.accumulate / state.seconds),
                "seconds": round(state.seconds, 3),
            }
            job.folder.add_line(line)
            hooks.on_eval(line)
            model.train()
            gained = state.best is None or better(job.data.metric, value, state.best)
            state.since_best = 0 if gained else state.since_best + 1
            if gained or value == state.best:  # on a tie the later one: it has learned longer, worth .01 where few rows validate
                state.best, state.best_step = value, state.step
                files.save_best(shadow)
            tired = bool(c.patience) and state.since_best >= c.patience
            state.finished = tired or state.step == state.steps

        # ---- once in a while: save, at most 2 % of the time
        if state.finished or clock.stop_requested or time.perf_counter() > due:
            before = time.perf_counter()
            state.seconds = before - began
            files.save(state, model, shadow, optimiser, losses)
            due = time.perf_counter() + max(_SAVE_EVERY, 50 * (time.perf_counter() - before))
        if clock.stop_requested and not state.finished:
            raise Interrupted(str(job.folder.path))

    files.load_best(model)
    hooks.on_end(job.name)
    return state


def _pieces(order: Tensor, number: int, per_epoch: int, c: TrainConfig) -> list[tuple[Tensor, float]]:
    """(numbers of examples, their share of the step) for step `number` of an epoch, in `accumulate` pieces; the last step takes what is
    left. Weighted by their shares, the means over the pieces are the mean over all, as if they were one batch."""
    size = c.batch_size * c.accumulate
    rows = order[number * size : None if number == per_epoch - 1 else (number + 1) * size]
    n = max(1, round(len(rows) / c.batch_size))
    return [(rows, 1.0)] if n == 1 else [(piece, len(piece) / len(rows)) for piece in rows.tensor_split(n)]


def _step(job: Job, model: Model, optimiser: optim.Optimiser, pieces: list[tuple[Tensor, float]], lr: float) -> Tensor:
    """One step by autograd. Returns the loss, still on its device."""
    c, loss = job.config, None
    for numbers, share in pieces:
        with _autocast(job.device, c):
            part, _ = job.data.task.loss(model, to_device(job.data.examples[TRAIN][numbers], job.device), job.data.head)
        part = part if share == 1 else part * share
        part.backward()
        loss = part.detach() if loss is None else loss + part.detach()
    if c.clip:
        optimiser.clip(c.clip)
    optimiser.set_lr(lr)
    optimiser.step()
    optimiser.zero_grad()
    return loss


def _small(job: Job) -> bool:
    """May its steps be recorded: a long training of a small network? By the plan only, so that a resumed run takes the same way."""
    c, model = job.config, job.model
    plain = c.accumulate == 1 and not c.ema and job.device.type == "cpu" and c.optimizer in optim.FUSED
    enough = c.steps >= LONG and len(job.data.examples[TRAIN]) >= 2 * c.batch_size
    return model.traceable and plain and enough and 3 * model.flops() * c.batch_size < SMALL


def _traced(job: Job, model: Model, optimiser: optim.Optimiser, before: bool | None = None) -> Traced | None:
    """The recorded steps. before: what was found when the run began, where it goes on."""
    if before is False:
        return None
    train, size = job.data.examples[TRAIN], job.config.batch_size
    loss = Loss(model, job.data.task, job.data.head, bf16=job.config.precision == "bf16")
    batch, other = (train[torch.arange(i * size, (i + 1) * size)] for i in (0, 1))
    made = Traced(loss, optimiser, batch, other, sure=bool(before))
    return made if made.usable else None


def _ahead(state: State, per_epoch: int, c: TrainConfig) -> int:
    """How many recorded steps may be taken at once: up to the next evaluation, and not with the last of an epoch, which takes what is left.
    Batches are cut at multiples of MOST, so that a resumed run cuts them alike."""
    return max(1, min(MOST - state.step % MOST, per_epoch - 1 - state.step % per_epoch, c.eval_every - state.step % c.eval_every,
                      state.steps - state.step))  # fmt: skip


def _optimiser(c: TrainConfig, model: Model, flat: bool | None = None) -> optim.Optimiser:
    return optim.build(c.optimizer, model, c.lr, momentum=c.momentum, nesterov=c.nesterov, weight_decay=c.weight_decay, flat=flat)


def _autocast(device: torch.device, c: TrainConfig) -> Any:
    """What surrounds a forward pass in training; nothing at all in fp32, for entering a context costs 10 us a step."""
    return torch.autocast(device.type, torch.bfloat16) if c.precision == "bf16" else contextlib.nullcontext()


def score(job: Job, model: Model) -> float:
    """The first metric on the validation part; where it has no value, the worst that there is."""
    data = job.data
    judged, truth = judge(model, data.task, data.head, data.examples[VALID])
    measured = data.task.measure(judged, truth, data.schema, [data.metric]).metrics
    return measured.get(data.metric, -math.inf if better(data.metric, 1.0, 0.0) else math.inf)


@torch.no_grad()
def _follow(shadow: Model, model: Model, decay: float, step: int) -> None:
    """Moves the average towards the weights; young averages move faster, so that the first steps are forgotten."""
    weight = 1 - min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(shadow.parameters()), list(model.parameters()), weight)
    for mine, theirs in zip(shadow.buffers(), model.buffers(), strict=True):
        mine.copy_(theirs)


def _check_finite(losses: Tensor, step: int, job: Job) -> None:
    bad = ~torch.isfinite(losses)
    if bad.any():
        at = step - len(losses) + int(bad.nonzero()[0]) + 1
        lr = job.config.lr
        cause = f"the learning rate {lr:g} is probably too high: --set train.lr={lr / 10:.2g}"
        if at == 1:
            cause = "at the first step: the network itself gives no finite number for the first batch; look at its layers and its inputs"
        raise UserError(
            f"the loss of {job.name} became {float(losses[bad][0])} at step {at}; training was stopped there. Likely cause: {cause}."
        )


# ---------------------------------------------------------------- time


def within(job: Job, seconds: float) -> TrainConfig:
    """job.config with its steps cut to what fits in `seconds`, by timing a few steps on a copy. Measured once a run: see `Checkpoints`."""
    files = Checkpoints(job.checkpoints)
    if files.plan.exists():
        return dataclasses.replace(job.config, **json.loads(files.plan.read_text(encoding="utf-8")))
    c = job.config
    each = step_seconds(job, min(2.0, seconds / 10))
    judging = len(job.data.examples[VALID]) / (3 * c.batch_size * c.accumulate)  # steps that an evaluation costs: it goes forward only
    # a tenth for evaluation, but for the last one, which there always is; a tenth for what was not measured
    steps = max(1, min(c.steps, int(0.9 * seconds / (1.1 * each) - judging)))
    cut: dict[str, Any] = {"steps": steps, "eval_every": max(1, min(c.eval_every, max(steps // 10, math.ceil(9 * judging))))}
    with atomic(files.plan, "w") as file:
        file.write(json.dumps(cut))
    if steps < c.steps:
        say(f"{job.name}: {steps:,} of {c.steps:,} steps fit into the time limit ({each * 1000:.2g} ms a step)")
    return dataclasses.replace(c, **cut)


def step_seconds(job: Job, most: float) -> float:
    """The median time of a step, from up to 30 calls or `most` seconds, on a copy of the model."""
    c, model = job.config, copy.deepcopy(job.model).to(job.device).train()
    torch.set_num_threads(c.threads)
    small, train = _small(job), job.data.examples[TRAIN]
    optimiser, n = _optimiser(c, model, flat=False if small else None), len(train)
    traced = _traced(job, model, optimiser) if small else None
    taken = min(MOST, n // c.batch_size) if traced else 1
    marks = [time.perf_counter()]
    with torch.random.fork_rng():
        while len(marks) < 4 or (len(marks) < 30 and marks[-1] - marks[0] < most):
            if traced:
                traced.steps(train[torch.arange(taken * c.batch_size)], optimiser, [c.lr] * taken, c.clip)
            else:
                float(_step(job, model, optimiser, _pieces(torch.arange(n), 0, steps_per_epoch(n, c), c), c.lr))  # waits for the device
            marks.append(time.perf_counter())
    return sorted(after - before for before, after in itertools.pairwise(marks))[(len(marks) - 1) // 2] / taken


# ---------------------------------------------------------------- checkpoints


class Checkpoints:
    """checkpoints/<model>/: last.safetensors (everything), best.safetensors (weights), plan.json (what a time limit left)."""

    def __init__(self, folder: Path):
        self.last, self.best, self.plan = (folder / name for name in ("last.safetensors", "best.safetensors", "plan.json"))

    def save(self, state: State, model: Model, shadow: Model, optimiser, losses: Tensor) -> None:
        """Of a training that is over only that it is: what goes on from there are its best weights."""
        tensors = {"losses": losses.cpu().clone(), "rng": torch.get_rng_state()}
        if not state.finished:
            tensors |= {f"model.{key}": value for key, value in tensors_of(model).items()}
            tensors |= {f"optim.{key}": value.detach().cpu().clone() for key, value in optimiser.tensors().items()}
            if shadow is not model:
                tensors |= {f"ema.{key}": value for key, value in tensors_of(shadow).items()}
        if losses.is_cuda:
            tensors["rng.cuda"] = torch.cuda.get_rng_state(losses.device)
        _write(self.last, tensors, {"state": json.dumps(dataclasses.asdict(state))})

    def save_best(self, model: Model) -> None:
        _write(self.best, tensors_of(model), {})

    def load_best(self, model: Model) -> None:
        model.load_state_dict(_read(self.best))

    def resume(self, model: Model, shadow: Model, optimiser, losses: Tensor) -> State | None:
        """Puts everything back as it was at the last checkpoint. Returns None where there is none."""
        if not self.last.exists():
            return None
        tensors = _read(self.last)
        with safetensors.safe_open(self.last, "pt") as file:
            state = State(**json.loads(file.metadata()["state"]))

        def under(prefix: str) -> dict[str, Tensor]:
            return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}

        if not state.finished:
            model.load_state_dict(under("model."))
            optimiser.load(under("optim."))
            if shadow is not model:
                shadow.load_state_dict(under("ema."))
        losses.copy_(tensors["losses"])
        torch.set_rng_state(tensors["rng"])
        if "rng.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["rng.cuda"], losses.device)
        if not state.finished:
            say(f"going on from step {state.step:,}")
        return state


def _write(path: Path, tensors: dict[str, Tensor], facts: dict[str, str]) -> None:
    with atomic(path) as file:
        file.write(safetensors.torch.save(tensors, facts))


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(
            f"the checkpoint {path} cannot be read ({error}). Delete the folder {path.parent} to train this model anew."
        ) from error
