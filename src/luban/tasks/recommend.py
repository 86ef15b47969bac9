"""Recommend: what will this user want next? An example is a user: the `history` of items that they had, and the one that came after it.

A row is an event: a user had an item, perhaps at a time. All events count alike, whatever a rating beside them says. Each user's last event
is tested, the one before validates, the rest trains (leave-last-out). What is judged is the rank of the true item among all that the user
has not had, never among a sample of them.

The answer goes under y0, an id; a head has a score for each id, that of 0 ("never seen in training") included, so that an id is its own
place; the score of 0 is never looked at. The bundle holds the history of every user (`context`): whoever has the model has the log.
Letters: B users, I ids of items with 0, K ensemble members, N rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from luban.core import cells
from luban.core.batch import Batch, Examples, Ragged, Spans, Store, cut, piece_of, size_of
from luban.core.contract import Head, Measured, Model, Part, Schema, Table, Task
from luban.core.errors import UserError, did_you_mean, listed
from luban.core.notes import say
from luban.core.registry import FIELDS
from luban.layers.rules import within
from luban.metrics import compute, family, resampled

NAMES = {
    "user": "user userid username uid member memberid customer customerid reviewer reviewerid account accountid visitor visitorid session "
    "sessionid 用户 用户id 用户编号 会员 会员id 客户 客户id 顾客",
    "item": "item itemid iid movie movieid film filmid product productid parentasin asin article articleid book bookid isbn song songid "
    "track trackid artist artistid sku 商品 商品id 商品编号 物品 物品id 产品 产品id 电影 电影id 书 书名 歌曲 文章",
    "time": "timestamp time datetime date ts unixreviewtime eventtime createdat 时间 时间戳 日期 评分时间 购买时间 下单时间",
}
"""What such columns are called, in lower case and without blanks, _ - and dots; the first name that is there is taken."""
SCORES = 4_000_000
"""Scores computed at a time, 32 MB: of 9,000 items, those of 440 users."""
ACTIVITY = (1, 5, 20, 100)
"""For the report: users with fewer events than each of these before their answer."""


class Recommend(Task):
    labelled = False
    noun = "users"
    taken = frozenset({"prediction", "rank", "score"})
    instead = ("user",)

    @dataclass(frozen=True)
    class Config:
        user: str | None = None
        """The column that says who. Unset: one called user, userId, customer_id, 用户 or the like."""
        item: str | None = None
        """The column that says what. Unset: the --target, or one called item, movieId, product_id, asin, 商品 or the like."""
        time: str | None = None
        """The column that says when. Unset: one called timestamp, date, 时间 or the like; where there is none, rows stand as they come."""
        day_first: bool | None = None
        """Is 01/05/2024 the first of May? Unset: the time column decides, by a value that leaves no choice; else the month goes first."""

    @dataclass(frozen=True)
    class Ask:
        user: str | None = None
        """For whom; without it a file of users is needed."""
        k: int = 10
        """How many items, the best first; never those that the user had, and so at most as many as are left."""

        def __post_init__(self) -> None:
            within(self, {"k": (1, 1_000_000)}, "ask")

    # ---------------------------------------------------------------- what it reads

    def settle(self, table: Table, targets: Sequence[str], time: str | None) -> None:
        if len(targets) > 1:
            raise UserError(f"--target names one column here, the items, not {len(targets)}: {listed(targets)}.")
        c = self.config
        user = self._column(table, "user", c.user)
        item = self._column(table, "item", next(iter(targets), c.item))
        when = self._column(table, "time", time or c.time)
        if len({user, item, when}) < 3:
            raise UserError(f"user, item and time must be different columns, not {listed([user, item, *([when] if when else [])])}.")
        self.config = replace(c, user=user, item=item, time=when)
        if when:
            moment: Any = FIELDS["moment"]
            moment = moment.of(table.get_column(when), c.day_first)
            moment.tell()
            self.config = replace(self.config, day_first=moment.day_first)
        say(
            f"events: who {user!r}, what {item!r}, " + (f"when {when!r}" if when else "in the order of the rows (no time column was found)")
        )

    def _column(self, table: Table, role: str, named: str | None) -> str | None:
        """The column of a role, as named or by its usual names. Raises UserError where it must be there and is not."""
        if named is not None:
            return self._there(table, named)
        plain = {"".join(each for each in name.lower() if each not in " _-."): name for name in reversed(table.columns)}
        found = next((plain[name] for name in NAMES[role].split() if name in plain), None)
        if found is None and role != "time":
            option = "--set task.user=COLUMN" if role == "user" else "--target COLUMN"
            raise UserError(f"no column is called {role}, {role}Id or the like. There are: {listed(table.columns, 40)}. Name it: {option}.")
        return found

    @staticmethod
    def _there(table: Table, name: str) -> str:
        if name not in table.columns:
            raise UserError(f"the column {name!r} is missing.{did_you_mean(name, table.columns)} There are: {listed(table.columns, 40)}.")
        return name

    def check(self, table: Table, targets: Sequence[str]) -> None:
        """One user says nothing of another, and of one item none can be chosen."""
        for name, what in ((self.config.user, "user"), (self.config.item, "item")):
            ids = _ids(table.get_column(name))
            if len(np.unique(ids[ids > 0])) < 2:
                raise UserError(f"{name!r} names fewer than two {what}s in {table.height:,} rows: there is nothing to learn from. "
                                "Give the events of more, or name the right column (--set task.user=COLUMN, --target COLUMN).")  # fmt: skip

    def order(self, table: Table) -> np.ndarray:
        """By user, then time, stable on ties. Rows with an empty cell and repeated events are left out, aloud."""
        c = self.config
        for name in (c.user, c.item, *([c.time] if c.time else [])):
            self._there(table, name)
        user, item, empty = _ids(table.get_column(c.user)), _ids(table.get_column(c.item)), np.zeros(table.height, bool)
        stamps = np.zeros(table.height, np.int64)
        for name, ids in ((c.user, user), (c.item, item)):
            empty |= _told(ids == 0, f"have no {name}")
        if c.time:
            column = table.get_column(c.time)
            moment: Any = FIELDS["moment"]
            stamps = moment.of(column, c.day_first).encode(column).numpy()
            empty |= _told(cells.empty(column, cells.BLANK).to_numpy(), f"have no {c.time}")
        rows = np.lexsort((stamps, user))  # stable
        rows = rows[~empty[rows]]
        if not len(rows):
            raise UserError(f"none of the {table.height:,} rows names {c.user} and {c.item}" + (f" and {c.time}." if c.time else "."))
        _, first = np.unique(user[rows] * (item.max() + 1) + item[rows], return_index=True)
        again = np.ones(len(rows), bool)
        again[first] = False
        if again.any():
            where = cells.row(int(rows[again].min()))
            say(f"{int(again.sum()):,} rows repeat an earlier {c.user} and {c.item} and are left out (the first: {where})")
        return rows[~again]

    def split(self, table: Table, shares: tuple[float, float, float]) -> tuple[np.ndarray, str]:
        """Leave-last-out; where no test part is asked for (shares[2] is 0), the last event validates."""
        held = 1 + (shares[2] > 0)
        user = _ids(table.get_column(self.config.user))
        _, start, count = np.unique(user, return_index=True, return_counts=True)
        left = np.repeat(start + count, count) - 1 - np.arange(len(user))  # how many events of the user follow
        kept = np.repeat(count > held, count)
        if not kept.any():
            raise UserError(
                f"no {self.config.user} has {held + 1} events or more: one to train on, and {held} to hold back. Give longer logs."
            )
        if not kept.all():
            say(f"{int((count <= held).sum()):,} of {len(count):,} users have fewer than {held + 1} events and are only trained on")
        part = np.where(kept & (left < held), held - left, 0).astype(np.uint8)
        return part, "by user, the last event is tested, the one before validates" if held > 1 else "by user, the last event validates"

    def schema(self, table: Table, targets: Sequence[str]) -> Schema:
        """No user and no item is too rare to be kept: a model that cannot hold so many says so."""
        c, category = self.config, FIELDS["category"]
        user, item = (category((name,), category.Config(max_size=max(1, table.height))) for name in (c.user, c.item))
        why = {c.time: "only orders the events"} | {name: "neither user nor item" for name in table.columns if name != c.time}
        return Schema({"c0": user}, {"y0": item}, {name: why[name] for name in table.columns if name not in (c.user, c.item)})

    # ---------------------------------------------------------------- what it learns

    def spans(self, store: Store, part: int) -> Spans:
        """Of each user with events in the part, all up to the last one there. Users that training never had cannot be told apart by
        their id, and are left out, aloud."""
        rows = torch.nonzero(store.part <= part).squeeze(1)
        user, mine = store.columns["c0"][rows], store.part[rows] == part
        new = torch.ones(len(rows), dtype=torch.bool)
        new[1:] = user[1:] != user[:-1]
        run = new.cumsum(0) - 1  # (n,): of which user each row is
        first, last = new.nonzero().squeeze(1), torch.full((int(new.sum()),), -1)
        last.scatter_reduce_(0, run[mine], mine.nonzero().squeeze(1), "amax")
        fits = (last >= 0) & (user[first] > 0)
        if unknown := int((mine & (user == 0)).sum()):
            say(f"{unknown:,} events are of users that training never had, and are left out")
        if part and (more := int(mine.sum()) - int((last >= 0).sum())) > 0:
            say(f"{more:,} events of users with several to judge are taken as history: each user is judged by the last")
        first, last = rows[first[fits]], rows[last[fits]]
        if part and len(last):
            self._tell(store, first, last)
        return Spans(first, last - first + 1)

    def _tell(self, store: Store, first: Tensor, last: Tensor) -> None:
        """What makes the examples of a part hard, or impossible."""
        if missed := int((store.columns["y0"][last] == 0).sum()):
            say(f"{missed:,} of {len(last):,} users are asked for an item that training never had; each counts as a miss")
        if alone := int((first == last).sum()):
            say(f"{alone:,} of {len(last):,} users have no event before the one that is asked for: they are judged without a history")

    def batch(self, store: Store, spans: Spans) -> Batch:
        """c0: the user (B,); history: what they had before, oldest first, Ragged; y0: the answer (B,).

        An event of a later part than the answer's stays out, and so does an item that training never had.
        """
        user, item, part = store.columns["c0"], store.columns["y0"], store.part
        answer = spans.start + spans.length - 1
        span = cut(torch.arange(len(part)), spans.start, torch.as_tensor(spans.length).expand(len(spans)))
        mine = answer.repeat_interleave(span.lengths)  # each row's answer
        keep = (part[span.values] <= part[mine]) & (span.values != mine) & (item[span.values] > 0)
        owner = torch.arange(len(spans)).repeat_interleave(span.lengths)[keep]
        return {"c0": user[answer], "history": _ragged(item[span.values[keep]], owner, len(spans)), "y0": item[answer]}

    def head(self, schema: Schema) -> Head:
        return Head((Part("y0", "items", schema.targets["y0"].size, "cross_entropy"),))

    def loss(self, model: Model, batch: Batch, head: Head) -> tuple[Tensor, dict[str, Tensor]]:
        z = head.split(model(batch))["y0"]  # (B, K, I)
        return F.cross_entropy(z.flatten(0, 1), batch["y0"].repeat_interleave(z.shape[1]), ignore_index=0), {}

    # ---------------------------------------------------------------- how it is judged

    def metrics(self, schema: Schema) -> tuple[str, ...]:
        """nDCG@10 first, the usual one to compare by."""
        return tuple(dict.fromkeys(["ndcg@10", *family("ranking")]))

    def judge(self, model: Model, batch: Batch, head: Head) -> Batch:
        """rank (B,): the place of the true item among all that the user has not had, the last place among equals, so that a model that
        gives one score to all gains nothing; a NaN is placed last where it is the true item's, and first elsewhere. 0 where training
        never had the item. before (B,): the length of the history."""
        ranks = []
        for piece, scores in _unseen(model, batch, head):
            true = scores.gather(1, piece["y0"].unsqueeze(1))  # (b, 1)
            place = (~(scores < true) & (scores != -torch.inf)).sum(1)
            ranks.append(place.masked_fill(piece["y0"] == 0, 0))
        return {"rank": torch.cat(ranks), "before": batch["history"].lengths}

    def measure(self, judged: Batch, truth: Batch, schema: Schema, names: Sequence[str]) -> Measured:
        y, rank = truth["y0"].numpy(), judged["rank"].numpy()
        found = compute("ranking", names, y, rank)
        if len(names) == 1 or not found:  # with one name it is training that asks, often
            return Measured(found)
        group = np.searchsorted(ACTIVITY, judged["before"].numpy(), side="right")
        by: dict[str, Any] = {}
        for number, low in enumerate((0, *ACTIVITY)):
            if (mine := group == number).any():
                above = f"from {low}" if number == len(ACTIVITY) else f"{low} to {ACTIVITY[number] - 1}"
                by[above] = {"users": int(mine.sum()), names[0]: compute("ranking", names[:1], y[mine], rank[mine])[names[0]]}
        return Measured(found, {"by_events_before": by, "items_never_in_training": int((y == 0).sum())})

    def resample(self, judged: Batch, truth: Batch, schema: Schema, names: Sequence[str], counts: np.ndarray) -> dict[str, np.ndarray]:
        return resampled("ranking", names, truth["y0"].numpy(), judged["rank"].numpy(), counts)

    def charts(self, judged: Batch, truth: Batch, scored: Examples, schema: Schema) -> dict[str, dict[str, Any]]:
        """How many users find their item in a list of k."""
        rank, k = judged["rank"].numpy(), np.arange(1, 101)
        found = (np.searchsorted(np.sort(rank), k, side="right") - (rank == 0).sum()) / len(rank)
        return {"Hit rate by the length of the list": {"x": "items in the list", "y": "hit rate", "lines": {"": (k, found)}}}

    # ---------------------------------------------------------------- what it answers

    def context(self, store: Store) -> Batch:
        """history: all items of each user, of every part, in row c0; row 0, nobody's, is empty."""
        user, item = store.columns["c0"], store.columns["y0"]
        user, item = user[known := (user > 0) & (item > 0)], item[known]
        user, order = user.sort(stable=True)
        return {"history": _ragged(item[order], user, int(store.columns["c0"].max()) + 1)}

    def remember(self, store: Store, context: Batch) -> Store:
        """What each user of the new events did before stands before them; events of items that they had already are left out, aloud."""
        user, item, past = store.columns["c0"], store.columns["y0"], context["history"]
        known = user.unique()
        known = known[known > 0]
        before = past[known]
        users = torch.cat([known.repeat_interleave(before.lengths), user])
        items, part = torch.cat([before.values, item]), torch.cat([torch.zeros(len(before.values), dtype=store.part.dtype), store.part])
        users, order = users.sort(stable=True)
        items, part = items[order], part[order]
        pairs = users * (int(past.values.max()) + 2 + int(item.max())) + items
        first = torch.ones(len(pairs), dtype=torch.bool)
        place = pairs.argsort(stable=True)
        first[place[1:]] = pairs[place].diff() != 0
        first |= (users == 0) | (items == 0)  # what training never had cannot be told apart
        if again := int((~first).sum()):
            say(f"{again:,} events are of items that the user had already in training, and are left out")
        return Store({"c0": users[first], "y0": items[first]}, part[first])

    def question(self, ask: Any) -> Table:
        if ask.user is None:
            raise UserError(f"say for whom: --user ID, or name a file of users with the column {self.config.user!r}.")
        return pl.DataFrame({self.config.user: [ask.user]})

    def pose(self, encoded: Batch, context: Batch) -> Batch:
        user = encoded["c0"]
        if new := int((user == 0).sum()):
            say(f"users that were not in training: {new:,} of {len(user):,}; without a history they are answered with what is popular")
        return {"c0": user, "history": context["history"][user]}

    def predict(self, model: Model, batch: Batch, head: Head, ask: Any) -> Batch:
        """item (B, k), the best first, and score (B, k); equals go by their id. Item 0, score 0 where fewer than k are left."""
        items, found = [], []
        for _, scores in _unseen(model, batch, head):
            scores, item = scores.sort(dim=1, descending=True, stable=True)
            scores, item = scores[:, : ask.k], item[:, : ask.k]
            over = scores == -torch.inf
            items.append(item.masked_fill(over, 0))
            found.append(scores.masked_fill(over, 0.0))
        return {"item": torch.cat(items), "score": torch.cat(found)}

    def kept(self, schema: Schema) -> tuple[str, ...]:
        return (self.config.user,)

    def answers(self, predicted: Batch, schema: Schema) -> Table:
        """`prediction`: a list of items, each with its rank from 1 and its score, which means nothing beside another model's."""
        item, score = predicted["item"], predicted["score"]
        row, place = item.nonzero(as_tuple=True)
        if full := int((item == 0).all(1).sum()):
            say(f"{full:,} users had every item that there is, and get an empty answer")
        field: Any = schema.targets["y0"]
        words = pl.Series(self.config.item, field.decode(item[row, place]), dtype=pl.Series(field.words).dtype)
        found = pl.DataFrame([pl.Series("row", row.numpy()), pl.Series("rank", (place + 1).numpy()), words,
                              pl.Series("score", score[row, place].double().numpy())])  # fmt: skip
        lists = found.group_by("row", maintain_order=True).agg(pl.struct("rank", self.config.item, "score").alias("prediction"))
        rows = pl.DataFrame({"row": range(len(item))}, schema={"row": pl.Int64})
        return rows.join(lists, on="row", how="left", maintain_order="left").select(pl.col("prediction").fill_null([]))

    def example(self, schema: Schema) -> dict[str, Any]:
        user: Any = schema.inputs["c0"]
        return {"user": str(user.words[0]), "k": 10}

    @classmethod
    def samples(cls) -> list[Table]:
        """A dated log with Chinese names, and one without a time: eight users, seven items, in two circles of taste."""
        pairs = [(u, (u % 2 * 3 + i * (1 + u % 3)) % 7) for i in range(7) for u in range(8) if i < 3 + u % 4]
        days = pl.Series("日期", [f"2024-{1 + n % 12:02}-{1 + n % 28:02}" for n in range(len(pairs))])
        chinese = pl.DataFrame({"用户": [f"客{u}" for u, _ in pairs], "商品": [f"书{i}" for _, i in pairs], "评分": [3.5] * len(pairs)})
        return [chinese.with_columns(days), pl.DataFrame({"user_id": [u for u, _ in pairs], "item": [10 * i for _, i in pairs]})]


# ---------------------------------------------------------------- small words


def _ids(column: pl.Series) -> np.ndarray:
    """(N,) numbers from 1 for the different words, in their order; 0 where empty. What is one word is for the field to say."""
    category = FIELDS["category"]
    field = category((column.name,), category.Config(max_size=max(1, len(column)))).fit([column])
    ids = field.encode(column).numpy()
    return np.where(ids > len(field.words), 0, ids)


def _told(gone: np.ndarray, why: str) -> np.ndarray:
    """Says how many rows are left out, and which is the first."""
    if gone.any():
        say(f"{int(gone.sum()):,} rows {why} and are left out (the first: {cells.row(int(gone.argmax()))})")
    return gone


def _ragged(values: Tensor, owner: Tensor, n: int) -> Ragged:
    """Values by their owner, who come in order: row i holds those of owner i."""
    return Ragged(values, F.pad(torch.bincount(owner, minlength=n).cumsum(0), (1, 0)))


def _unseen(model: Model, batch: Batch, head: Head) -> Iterator[tuple[Batch, Tensor]]:
    """Pieces of the batch, each with its scores (b, I); -inf for what the user had, and for id 0.

    Rounded to 7 decimals: items with the same users have the same score but for the last bits, and their order must not hang on those, or
    a list would change from machine to machine.
    """
    most = max(1, SCORES // head.size)
    for start in range(0, size_of(batch), most):
        piece = piece_of(batch, start, start + most)
        scores = torch.round(head.split(model(piece))["y0"].mean(1), decimals=7)
        scores = scores.nan_to_num(torch.nan, neginf=torch.finfo(scores.dtype).min)  # a model's own -inf is a low score, no exclusion
        history = piece["history"]
        rows = torch.arange(len(history), device=scores.device).repeat_interleave(history.lengths)
        scores[:, 0] = -torch.inf
        scores[rows, history.values] = -torch.inf
        yield piece, scores
