"""Recommend: what will this user want next? An example is a user: the `history` of items that they had, and those that they had after it.

What is judged are the ranks of the true items among all that the user has not had, never among a sample of them: each user's last event,
or whatever the protocol holds back (tasks/_events.py).

The answers go under y0, ids; a head has a score for each id, that of 0 ("never seen in training") included, so that an id is its own
place; the score of 0 is never looked at. The bundle holds the history of every user (`context`): whoever has the model has the log.
Letters: B users, I ids of items with 0, K ensemble members, N rows, k items of a list.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from luban.core.batch import Batch, Examples, Ragged, Spans, Store, numbers_of
from luban.core.config import within
from luban.core.contract import Head, Measured, Model, Part, Schema, Table, Task
from luban.core.errors import UserError, did_you_mean, listed
from luban.core.notes import say
from luban.layers import neighbours
from luban.layers.ranked import scored
from luban.metrics import family, resampled
from luban.tasks._events import NEWEST, OfEvents, firsts
from luban.tasks._places import RANKS, because, best, placed, ranks_of

ACTIVITY = (1, 5, 20, 100)
"""For the report: users with fewer events than each of these before their answer."""
LISTED = 10
"""Items of a list by which coverage, novelty and the like are told."""
POINTS = 200
"""Of a curve over all items."""


class Recommend(OfEvents, Task):  # type: ignore[misc]
    asks = "items"
    taken = frozenset({"prediction", "rank", "score", "because"})
    instead = ("user", "liked")
    golden = {"exact": True}

    @dataclass(frozen=True)
    class Ask:
        user: str | None = None
        """For whom; without it, and without `liked`, a file of users is needed."""
        k: int = 10
        """How many items, the best first; never those that the user had, and so at most as many as are left."""
        liked: tuple[str, ...] | None = None
        """For somebody new who liked these items, with commas between them; of one item, what is similar to it."""
        because: bool = False
        """Say of each item which of those that the user had speaks for it most."""
        seen: bool = False
        """Recommend what the user had already, too."""
        among: tuple[str, ...] | None = None
        """Only of these items, with commas between them."""
        without: tuple[str, ...] | None = None
        """None of these items, with commas between them."""
        where: tuple[str, ...] | None = None
        """Only items of which this is true: genres=Comedy, year>=1990, by the columns of the table of items; of several, all must be."""

        exact: bool = False
        """Look at every item, where of a large catalogue only those near to what the user had would be looked at."""
        pairs: bool = False
        """Each row of the file names an item, too: give its score, and its place among all that the user has not had."""

        def __post_init__(self) -> None:
            within(self, {"k": (1, 1_000_000)}, "ask")
            usual = {each.name: each.default for each in fields(self)}
            if self.pairs and (other := [name for name in usual if name != "pairs" and getattr(self, name) != usual[name]]):
                raise UserError(f"pairs gives each row's item its score and its place; {other[0]} says nothing there. Leave it out.")

    # ---------------------------------------------------------------- what it learns

    def spans(self, store: Store, part: int) -> Spans:
        """All rows of each user with events in the part. Users that training never had cannot be told apart by their id, and are left out,
        aloud."""
        user, mine = store.columns["c0"], store.part == part
        if not len(user):
            return Spans(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), part)
        first = torch.nonzero(F.pad(user[1:] != user[:-1], (1, 0), value=True)).squeeze(1)
        length = torch.diff(first, append=torch.tensor([len(user)]))
        events = torch.zeros(len(user) + 1, dtype=torch.int64)
        torch.cumsum(mine, 0, out=events[1:])
        fits = (events[first + length] > events[first]) & (user[first] > 0)
        if unknown := int((mine & (user == 0)).sum()):
            say(f"{unknown:,} events are of users that training never had, and are left out")
        if part and int(fits.sum()):
            self._tell(store, user, mine & (user > 0), part)
        return Spans(first[fits], length[fits], part)

    def _tell(self, store: Store, user: Tensor, mine: Tensor, part: int) -> None:
        """What makes the examples of a part hard, or impossible."""
        name = "validation" if part == 1 else "test"
        if missed := int((mine & (store.columns["y0"] == 0)).sum()):
            say(f"{name}: {missed:,} of {int(mine.sum()):,} events to be found are of items that training never had; each counts as a miss")
        items = torch.zeros(int(store.columns["y0"].max()) + 1, dtype=torch.bool)
        items[store.columns["y0"][store.part == 0]] = True
        # without a table none is known so, and of new data the store holds what a few users had, not what training had
        if self.beside.get("items") is not None and (cold := int((mine & ~items[store.columns["y0"]] & (store.columns["y0"] > 0)).sum())):
            hint = "; what ranks by what was had can place none of these, twotower can" if part == 1 else ""
            say(f"{name}: {cold:,} of {int(mine.sum()):,} events to be found are of items that training knows by their table alone{hint}")
        seen = torch.zeros(int(user.max()) + 1, dtype=torch.bool)
        seen[user[(store.part == 0) & (store.columns["y0"] > 0)]] = True
        if alone := int((~seen[user[mine].unique()]).sum()):
            say(f"{name}: {alone:,} users to be judged have no event in training: they are judged without a history")

    def batch(self, store: Store, spans: Spans) -> Batch:
        """c0: the user (B,); history: what they had in the parts before, oldest first, Ragged; y0: what they had in this part, Ragged.
        Beside the history, Ragged, what the store notes of each event: its weight, and in training its age.

        In training the history is all that they had there, and y0 is empty: a model divides it as it likes. An item that training never
        had is in no history.
        """
        rows = numbers_of(spans.start, torch.as_tensor(spans.length).expand(len(spans)))
        owner = rows.owners
        item, part = store.columns["y0"][rows.values], store.part[rows.values]
        before, asked = (part < max(1, spans.part)) & (item > 0), (part == spans.part) & (spans.part > 0)
        history, answers = (_ragged(item[which], owner[which], len(spans)) for which in (before, asked))
        names = [name for name in ("weight", *([] if spans.part else ["age"])) if name in store.columns]
        noted = {name: Ragged(store.columns[name][rows.values[before]], history.offsets) for name in names}
        return {"c0": store.columns["c0"][spans.start], "history": history, **noted, "y0": answers}

    def head(self, schema: Schema) -> Head:
        return Head((Part("y0", "items", schema.targets["y0"].size, "next" if self.config.protocol in NEWEST else "any"),))

    def loss(self, model: Any, batch: Batch, head: Head) -> tuple[Tensor, dict[str, Tensor]]:
        """The model's own, for each has its way of drawing what was not had."""
        return model.loss(batch), {}

    def calibrate(self, model: Model, judged: Batch, truth: Batch, valid: Examples) -> None:
        users = valid.thinned(neighbours.USERS).pieces(neighbours.USERS)
        neighbours.learn(model, (each for batch in users for each in scored(model, batch, model.head)))

    # ---------------------------------------------------------------- how it is judged

    def metrics(self, schema: Schema) -> tuple[str, ...]:
        """nDCG@10 first, the usual one to compare by."""
        return tuple(dict.fromkeys(["ndcg@10", *family("ranking"), *family("lists")]))

    def judge(self, model: Model, batch: Batch, head: Head) -> Batch:
        """rank (B, RANKS): the places of a user's true items among all that they have not had, the best first, then 0. An item has the last
        place among equals, so that a model that gives one score to all gains nothing; a NaN is placed last where it is a true item's, and
        first elsewhere. list (B, LISTED): the items with the best scores. before (B,): the length of the history."""
        ranks, lists = [], []
        for piece, scores in scored(model, batch, head):
            ranks.append(ranks_of(scores, piece["y0"]))
            lists.append(best(scores, LISTED)[1])
        return {"rank": torch.cat(ranks), "list": torch.cat(lists), "before": batch["history"].lengths}

    def measure(self, judged: Batch, truth: Batch, schema: Schema, names: Sequence[str]) -> Measured:
        found = self._figures(judged, truth, schema, names, None)
        if len(names) == 1 or not found:  # with one name it is training that asks, often
            return Measured(found)
        group = np.searchsorted(ACTIVITY, judged["before"].numpy(), side="right")
        by: dict[str, Any] = {}
        for number, low in enumerate((0, *ACTIVITY)):
            if (mine := group == number).any():
                above = f"from {low}" if number == len(ACTIVITY) else f"{low} to {ACTIVITY[number] - 1}"
                by[above] = {"users": int(mine.sum()), names[0]: self._figures(judged, truth, schema, names[:1], mine)[names[0]]}
        facts = {"protocol": self.config.protocol, "items": schema.targets["y0"].size - 1}
        return Measured(found, {**facts, "by_events_before": by, "events_never_in_training": int((truth["y0"].values == 0).sum())})

    def _figures(self, judged: Batch, truth: Batch, schema: Schema, names: Sequence[str], mine: np.ndarray | None) -> dict[str, float]:
        """mine (B,): only of these users."""
        ones, found = np.ones((len(judged["before"]) if mine is None else int(mine.sum()), 1)), dict[str, np.ndarray]()
        for of, (y, answers) in _sides(judged, truth, schema).items():
            if mine is not None:
                y, answers = y[mine] if of == "ranking" else y, answers[mine]
            found |= resampled(of, [name for name in names if name in family(of)], y, answers, ones)
        return {name: float(found[name][0]) for name in names if name in found and np.isfinite(found[name][0])}

    def resample(self, judged: Batch, truth: Batch, schema: Schema, names: Sequence[str], counts: np.ndarray) -> dict[str, np.ndarray]:
        """Of what is counted user by user: a sample of users with repetitions has fewer different lists."""
        y, ranks = _sides(judged, truth, schema)["ranking"]
        return resampled("ranking", [name for name in names if name in family("ranking")], y, ranks, counts)

    def charts(self, judged: Batch, truth: Batch, scored: Examples, schema: Schema) -> dict[str, dict[str, Any]]:
        """How many users find an item of theirs in a list of k; and whether lists show more than what everyone knows."""
        first, k = judged["rank"][:, 0].numpy(), np.arange(1, RANKS + 1)
        found = (np.searchsorted(np.sort(first), k, side="right") - (first == 0).sum()) / len(first)
        had, lists = (each for each in _sides(judged, truth, schema)["lists"])
        shown = np.bincount(lists.ravel(), minlength=len(had))[1:]
        by_popularity, place = np.argsort(-had[1:], kind="stable"), np.arange(1, len(had)) / (len(had) - 1)
        shares = {what: np.cumsum(each[by_popularity]) / max(1, each.sum()) for what, each in (("had", had[1:]), ("shown", shown))}
        some = np.unique(np.linspace(0, len(place) - 1, POINTS).astype(int))
        return {
            "Hit rate by the length of the list": {"x": "items in the list", "y": "hit rate", "lines": {"": (k, found)}},
            "What was had in training, and what is shown, by the most popular items": {
                "x": "share of the items", "y": "share of the events", "unit": True, "fixed": True,
                "lines": {what: (place[some], share[some]) for what, share in shares.items()}},
        }  # fmt: skip

    # ---------------------------------------------------------------- what it answers

    def context(self, store: Store) -> Batch:
        """history: all items of each user, of every part, in row c0; row 0, nobody's, is empty. weight: that of each, where they differ."""
        user, item = store.columns["c0"], store.columns["y0"]
        known = torch.nonzero((user > 0) & (item > 0) & (store.part < 3)).squeeze(1)
        user, order = user[known].sort(stable=True)
        of = {name: store.columns[key][known[order]] for name, key in (("history", "y0"), ("weight", "weight")) if key in store.columns}
        return {name: _ragged(values, user, int(store.columns["c0"].max()) + 1) for name, values in of.items()}

    def remember(self, store: Store, context: Batch) -> Store:
        """What each user of the new events did before stands before them; events of items that they had already are left out, aloud."""
        user, item, past = store.columns["c0"], store.columns["y0"], context["history"]
        known = user.unique()
        known = known[known > 0]
        before = past[known[known < len(past)]]
        known = known[: len(before)]  # the others are known by the table of users alone
        users, order = torch.cat([known.repeat_interleave(before.lengths), user]).sort(stable=True)
        part = torch.cat([torch.zeros(len(before.values), dtype=store.part.dtype), store.part])[order]
        columns = {"c0": users, "y0": torch.cat([before.values, item])[order]}
        if "weight" in context:
            weight = store.columns.get("weight", torch.ones(len(user)))
            columns["weight"] = torch.cat([context["weight"][known].values, weight])[order]
        apart = (users > 0) & (columns["y0"] > 0)  # what training never had is one id for many
        first = ~apart | (torch.from_numpy(firsts(users.numpy(), columns["y0"].numpy())) == torch.arange(len(users)))
        if again := int((~first).sum()):
            say(f"{again:,} events are of items that the user had already, and are left out")
        return Store({name: column[first] for name, column in columns.items()}, part[first])

    def question(self, ask: Any) -> Table:
        if ask.pairs:
            raise UserError(f"pairs is for a file with the columns {self.config.user!r} and {self.config.item!r}: name one.")
        if ask.user is not None and ask.liked is not None:
            raise UserError("user and liked both say for whom, a user of the log or somebody new: give one of them.")
        if ask.user is None and ask.liked is None:
            raise UserError(f"say for whom: --user ID, or --liked ITEM,ITEM, or name a file of users with the column {self.config.user!r}.")
        return pl.DataFrame({self.config.user: [ask.user]}, schema_overrides=None if ask.user else {self.config.user: pl.String})

    def pairs(self, ask: Any) -> bool:
        return ask.pairs

    def pose(self, encoded: Batch, context: Batch) -> Batch:
        user = encoded["c0"]
        row = torch.where(user < len(context["history"]), user, 0)  # beyond the past: known by the table of users alone
        return encoded | {name: past[row] for name, past in context.items()}

    def predict(self, model: Any, batch: Batch, head: Head, ask: Any) -> Batch:
        """item (B, k), the best first, and score (B, k); equals go by their id. Item 0, score 0 where fewer than k are left. because
        (B, k), where it is asked for: the item of the history that speaks for each most. Of pairs: `placed`. new (B,): is it a stranger?
        found (B,), of a large catalogue: the share of the best items that such a search finds; 1 where all were looked at."""
        new = (batch["c0"] == 0) & (ask.liked is None)
        if "y0" in batch:
            return placed(model, batch, head) | {"new": new}
        if ask.liked is not None:
            liked = torch.from_numpy(_known(model, ask.liked, "liked")).to(batch["c0"].device)
            batch = {"c0": torch.zeros_like(batch["c0"]), "history": Ragged(liked, torch.tensor([0, len(liked)], device=liked.device))}
        out = torch.zeros(head.size, dtype=torch.bool, device=batch["c0"].device)  # what is not to be recommended, whoever asks
        if ask.among is not None:
            out[:] = True
            out[torch.from_numpy(_known(model, ask.among, "among"))] = False
        if ask.without is not None:
            out[torch.from_numpy(_known(model, ask.without, "without"))] = True
        if ask.where is not None:
            out |= ~_where(model, ask.where).to(out.device)
        # what is found of all items says nothing of what is found of some
        share = None if ask.exact or ask.among or ask.where or ask.k > neighbours.KEPT else neighbours.found(model)
        answer = _listed(model, batch, head, ask, out) if share is None else _near(model, batch, head, ask, out, share)
        return answer | {"new": new} | ({"because": because(model, batch, head, answer["item"])} if ask.because else {})

    def kept(self, schema: Schema) -> tuple[str, ...]:
        return (self.config.user,)

    def answers(self, predicted: Batch, schema: Schema) -> Table:
        """`prediction`: a list of items, each with its rank from 1 and its score, which means nothing beside another model's."""
        if new := int(predicted["new"].sum()):
            say(f"users that were not in training: {new:,} of {len(predicted['new']):,}; they are answered with what is popular")
        if "found" in predicted and (near := predicted["found"] < 1).any():
            share = float(predicted["found"].min())
            say(f"{int(near.sum()):,} answers looked only at items near to what the user had, which finds {share:.1%} of the best; `exact` "
                "looks at all")  # fmt: skip
        if "place" in predicted:
            known = pl.Series(predicted["place"].numpy() > 0)
            columns = {"prediction": predicted["score"].double().numpy(), "rank": predicted["place"].numpy()}
            return pl.DataFrame(columns).select(pl.when(known).then(pl.all()))
        item, score = predicted["item"], predicted["score"]
        row, place = item.nonzero(as_tuple=True)
        left = (item > 0).sum(1)
        if full := int((left == 0).sum()):
            say(f"{full:,} users had every item that was to be chosen from, and get an empty answer")
        if short := int(((left > 0) & (left < item.shape[1])).sum()):
            least = int(left[left > 0].min())
            say(f"{short:,} of {len(item):,} users get fewer items than asked for, the fewest {least:,}: no more are left to choose from")
        field: Any = schema.targets["y0"]

        def words(ids: Tensor) -> pl.Series:
            return pl.Series(field.decode(ids), dtype=pl.Series(field.words[:1]).dtype)

        columns = {"rank": (place + 1).numpy(), self.config.item: words(item[row, place]), "score": score[row, place].double().numpy()}
        if "because" in predicted:
            columns["because"] = words(predicted["because"][row, place])
        found = pl.DataFrame(columns).to_struct("prediction")
        if len(found) == item.numel():
            return found.reshape(tuple(item.shape)).arr.to_list().to_frame()
        lists = pl.DataFrame({"row": row.numpy(), "prediction": found}).group_by("row", maintain_order=True).agg("prediction")
        rows = pl.DataFrame({"row": range(len(item))}, schema={"row": pl.Int64})
        return rows.join(lists, on="row", how="left", maintain_order="left").select(pl.col("prediction").fill_null([]))

    def told(self, answers: Table, question: Table, schema: Schema) -> Table:
        """A pair's item stands before its score."""
        pairs = answers.schema.get("prediction") == pl.Float64
        return pl.concat([question.select(self.config.item), answers], how="horizontal") if pairs else answers

    def example(self, schema: Schema) -> dict[str, Any]:
        user: Any = schema.inputs["c0"]
        return {"user": str(user.words[0]), "k": 10}


# ---------------------------------------------------------------- small words


def _listed(model: Any, batch: Batch, head: Head, ask: Any, out: Tensor) -> Batch:
    """score and item (B, k), of all items less those of `out` (I,)."""
    lists = []
    for _, scores in scored(model, batch, head, ask.seen):
        lists.append(best(scores.masked_fill_(out, -torch.inf), ask.k))
    score, item = (torch.cat(each) for each in zip(*lists, strict=True))
    return {"score": score, "item": item}


def _near(model: Any, batch: Batch, head: Head, ask: Any, out: Tensor, share: float) -> Batch:
    """The same of the items near to what each user had; of all for whom that does not do. share: what is found so of the best."""
    score, item, done = neighbours.nearest(model, batch, ask.k, out, ask.seen)
    if len(rest := torch.nonzero(~done).squeeze(1)):
        exact = _listed(model, {key: value[rest] for key, value in batch.items()}, head, ask, out)
        score[rest], item[rest] = exact["score"].to(score.dtype), exact["item"]
    return {"score": score, "item": item, "found": torch.where(done, share, 1.0)}


def _known(model: Any, words: Sequence[str], option: str) -> np.ndarray:
    """(n,) ids of the items that are named, one by one or with commas between them. Raises UserError where training had none of them."""
    field = model.catalogue
    asked = [
        each.strip() for word in words for each in ([word] if _id(field, word) else word.replace("，", ",").split(",")) if each.strip()
    ]
    ids = np.array([_id(field, each) for each in asked], np.int64)
    unknown = [each for each, id in zip(asked, ids, strict=True) if id == 0]
    if len(unknown) == len(asked):
        near = did_you_mean(unknown[0], [str(word) for word in field.words]) if unknown else ""
        raise UserError(f"{option}: training had none of {listed(unknown)}.{near}" if unknown else f"{option} names no item.")
    if unknown:
        say(f"{option}: training never had {listed(unknown)}; the others count")
    return np.array(list(dict.fromkeys(ids[ids > 0].tolist())), np.int64)  # in their order: the last may count most


def _where(model: Any, conditions: Sequence[str]) -> Tensor:
    """(I,) bool: the items of which all are true."""
    if not getattr(model.catalogue, "features", ()):
        raise UserError(f"where: the model knows nothing of {model.catalogue.columns[0]!r} but its ids. Train it with a table of them: "
                        "--set data.items=FILE.")  # fmt: skip
    asked = [each for one in conditions for each in re.split(r"[,，](?=[^,，]*[=<>])", one)]
    return torch.stack([model.catalogue.where(each) for each in asked]).all(0)


def _id(field: Any, word: str) -> int:
    return int(field.encode(pl.Series(field.columns[0], [word]))[0])


def _ragged(values: Tensor, owner: Tensor, n: int) -> Ragged:
    """Values by their owner, who come in order: row i holds those of owner i."""
    return Ragged(values, F.pad(torch.bincount(owner, minlength=n).cumsum(0), (1, 0)))


def _sides(judged: Batch, truth: Batch, schema: Schema) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{family of metrics: what it compares}: how many items were to be found, and their places; how popular items are, and the lists."""
    field: Any = schema.targets["y0"]
    counts = np.maximum([0, *field.counts], 0.5)  # an item that is known by its table alone, as half a user's: novelty is a logarithm
    return {
        "ranking": (truth["y0"].lengths.numpy(), judged["rank"].numpy()),
        "lists": (counts / max(1, counts.max()), judged["list"].numpy()),
    }
