"""Which field reads which column: as chosen, else the one that sniffs best on a sample; fitted on the training rows, and only there.

Knows neither tasks nor fields by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from luban import splitting
from luban.core import cells
from luban.core import config as configs
from luban.core.contract import Field, Schema, Table, Task
from luban.core.device import side_by_side
from luban.core.errors import UserError, listed
from luban.core.notes import say
from luban.core.registry import FIELDS
from luban.core.table import Pieces
from luban.data import DataConfig, Rows, missing
from luban.splitting import TEST, TRAIN, UNLABELLED

Options = dict[str, dict[str, Any]]


def fit_schema(rows: Rows, config: DataConfig, chosen: dict[str, Any], task: Task, usual: Options | None = None,
               known: Schema | None = None) -> Schema:  # fmt: skip
    """The fields that the task names, else those that `sniff` best or are `chosen`; fitted on the training rows, and only there.

    usual: {field: its options} where the user leaves them open. known: fields that were fitted before, and stay.
    """
    read = {**known.inputs, **{key: each for key, each in known.targets.items() if each.columns[0] in config.target}} if known else {}
    if known and not task.labelled:  # items are read like users: a vector of each is what goes on
        read |= {key: each for key, each in known.targets.items() if each.kind == "id"}
    before = {each.columns[0]: each for each in read.values() if each.columns[0] not in chosen}
    for name in chosen:
        head, _, last = name.rpartition(".")
        if last == "field" and name not in rows.table.columns and head in rows.table.columns:
            raise UserError(f"fields.{name}: a column's field is set as --set fields.{head}={chosen[name]}")
        splitting.need(rows.table, name, "fields")
    train, seen = rows.part == TRAIN, (rows.part == TRAIN) | (rows.part == UNLABELLED)
    with cells.numbered(rows.names):
        if not task.labelled:
            if chosen:
                raise UserError(f"fields.{next(iter(chosen))}: this task chooses its fields itself; leave the setting out.")
            with cells.picked(rows.of(TRAIN)):
                schema = task.schema(rows.table[rows.of(TRAIN)], config.target)
            for key, each in schema.fields.items():
                if type(old := before.get(each.columns[0])) is type(each):
                    theirs, ours = configs.to_dict(old.config), configs.to_dict(each.config)
                    if other := [f"{name} {theirs[name]} instead of {ours[name]}" for name in ours if theirs[name] != ours[name]]:
                        say(f"{each.columns[0]!r} is read as the run to go on from reads it: {', '.join(other)}")
                    if getattr(each, "beside", None) is not None:
                        say(f"{each.columns[0]!r}: its table is not read; what the run to go on from knew of it counts")
                    (schema.inputs if key in schema.inputs else schema.targets)[key] = old
                    _tell_strangers(old, rows.table.get_column(each.columns[0]).gather(rows.of(TRAIN)))
                elif options := (usual or {}).get(_name_of(each)):  # the model decides how it is read
                    each.config = configs.build(type(each).Config, {**configs.to_dict(each.config), **options})
        else:
            schema = _sniffed(rows, config, chosen, usual or {}, before)
        inputs, targets = (
            {key: each for key, each in fields.items() if each not in before.values()} for fields in (schema.inputs, schema.targets)
        )
        answers = {each.columns[0] for each in targets.values()}
        Schema(inputs, targets).fit(rows.table, lambda name: Pieces(rows.table, name, train if name in answers else seen), side_by_side)
        return schema


def _tell_strangers(field: Field, column: pl.Series) -> None:
    """Says which ids of the training rows the run to go on from never had: they stay unknown."""
    if field.kind == "id" and (new := (field.encode(column) == 0).numpy()).any():  # type: ignore[union-attr]
        words = cells.words(column.filter(new)).unique(maintain_order=True).to_list()
        many = f"{int(new.sum()):,} of {len(column):,} training rows"
        say(f"{field.columns[0]!r}: the run to go on from never had {listed(words, 3)}, and nothing is learned of the {many} with such")


def _sniffed(rows: Rows, config: DataConfig, chosen: dict[str, Any], usual: Options, before: dict[str, Field]) -> Schema:
    """Chooses a field for each column by `sniff` on the training rows, or as `chosen` says; those of `before` come first, in their order.
    Where these answer the question, too, no other column is read."""
    train = rows.of(TRAIN)
    sample = rows.table[train[:: max(1, len(train) // 10_000)]]

    def whole(name: str) -> pl.Series:
        return rows.table.get_column(name).gather(train)

    aside = {name: "decides the split" for name in (config.split, config.group) if name}
    if rows.facts["split"].startswith("by the column"):
        aside["split"] = "decides the split"
    aside |= {name: "left out as asked" for name in config.drop}
    old = [name for name in before if name in rows.table.columns]
    if set(config.target) <= before.keys():
        for name in before:
            splitting.need(rows.table, name, "--from")
        aside |= {name: "not read by the run that goes on" for name in rows.table.columns if name not in (*old, *chosen, *aside)}

    def one(name: str) -> tuple[Field | None, str | None]:
        some = sample.get_column(name)
        reason = aside.get(name) or ("left out as asked" if chosen.get(name) == "ignore" else None)
        if name in before and not reason:
            return before[name], None
        if reason or name in chosen:
            return (None, reason) if reason else _field(some, chosen[name], usual)
        reason = _unusable(some, whole)
        each, reason = (None, reason) if reason else _field(_with_rare(some, Pieces(rows.table, name)), None, usual)
        return each, reason or _names_rows(some, whole, each)

    names = [name for name in dict.fromkeys([*old, *rows.table.columns]) if name not in config.target]
    found = dict(zip(names, side_by_side(one, names), strict=True))
    ignored = {name: reason for name, (_, reason) in found.items() if reason}
    read = [each for each, reason in found.values() if not reason]
    inputs = {f"c{i}": each for i, each in enumerate(read)}
    if not inputs:
        reasons = "; ".join(f"{name!r}: {reason}" for name, reason in list(ignored.items())[:5])
        raise UserError(
            f"no column is left to learn from ({reasons}). To use one all the same, name its field: --set fields.COLUMN=category."
        )
    targets = [before[name] if _answers(before.get(name), rows, name) else FIELDS[rows.fields[name]]((name,)) for name in config.target]
    return Schema(inputs, {f"y{i}": each for i, each in enumerate(targets)}, ignored)


def _answers(each: Any, rows: Rows, name: str) -> bool:
    """Can a field that was fitted before spell all answers of this target, or has it labels that are new?"""
    if each is None or _name_of(each) != rows.fields[name]:
        return False
    if each.kind != "id" or all((each.encode(piece.drop_nulls()) > 0).all() for piece in Pieces(rows.table, name, rows.part <= TEST)):
        return True
    say(f"{name!r} has labels that the run to go on from did not have: the answers are learned anew")
    return False


Whole = Callable[[str], pl.Series]
"""All training rows of a column, which is asked for only where a sample of them leaves something open."""


def _unusable(some: pl.Series, whole: Whole) -> str | None:
    """Why a column cannot help: it is empty, or says the same in each row."""
    if missing(some, nan_too=True).all() and missing(whole(some.name), nan_too=True).all():
        return "empty"
    if some.dtype.is_nested() or some.dtype in (pl.Binary, pl.Object):
        return None  # whole pictures are not compared
    if not some.null_count() and some.n_unique() == 1:
        column = whole(some.name)
        if not column.null_count() and column.n_unique() == 1:
            return f"one value only ({str(column[0])[:40]!r})"
    return None


def _names_rows(some: pl.Series, whole: Whole, each: Field) -> str | None:
    """Why a column only names the row: a different whole number or a different code in (nearly) each."""
    if each.kind in ("grid", "curve") or not (some.dtype == pl.String or some.dtype.is_integer()) or not _distinct(some.drop_nulls()):
        return None
    if some.dtype == pl.String and not _short(some):  # sentences, of which the whole column may be gigabytes
        return None
    values = whole(some.name).drop_nulls()
    if not _distinct(values):
        return None
    numbers = values.cast(pl.Int64, strict=False)
    if not numbers.null_count():
        name, ordered = values.name.strip().lower(), numbers.is_sorted()
        named_id = name in ("", "id", "index", "row", "no", "序号", "编号") or name.endswith(("_id", " id"))
        counted = ordered and numbers[-1] - numbers[0] < 2 * len(numbers)  # a row number, thinned by the split, fills its range
        return "looks like an id: a different whole number in each row" if named_id or counted else None
    if each.kind != "scalar" and values.dtype == pl.String:
        codes = _short(values) and values.str.contains(r"[0-9]").to_numpy().mean() > 0.9
        return "looks like an id: a different code in each row" if codes else None
    return None


def _short(values: pl.Series) -> bool:
    return bool((values.str.len_chars() <= 64).all() and not values.str.contains(r"\s").any())


def _with_rare(some: pl.Series, column: Pieces) -> pl.Series:
    """The sample; of few different values, with each that stands elsewhere in the rows: a third one may be rare, and 0, 1 and 2 are no yes
    and no."""
    if some.dtype.is_nested() or some.dtype in (pl.Binary, pl.Object) or some.n_unique() > _FEW:
        return some
    there = pl.concat([piece.unique() for piece in column]).unique().drop_nulls().sort()
    return pl.concat([some, there.filter(~there.is_in(some.unique().implode()))])


_FEW = 4


def _distinct(values: pl.Series) -> bool:
    return len(values) >= 20 and values.n_unique() >= 0.98 * len(values)


def sniff_all(table: Table, leave_out: Sequence[str]) -> list[tuple[str, str, str]]:
    """(column, field or "ignore", doubts) of each column, for a configuration to be edited."""
    found = []
    for name in table.columns:
        if name in leave_out:
            continue
        some = table.get_column(name).gather_every(max(1, table.height // 10_000))
        reason, each = _unusable(some, table.get_column), None
        if reason is None:
            each, reason = _field(_with_rare(some, Pieces(table, name)), None, {})
        reason = reason or _names_rows(some, table.get_column, each)
        found.append((name, "ignore", reason) if reason else (name, _name_of(each), "; ".join(each.doubts)))
    return found


def _name_of(each: Field) -> str:
    return type(each).__module__.rpartition(".")[2]


def _field(column: pl.Series, chosen: Any, usual: Options) -> tuple[Field, str | None]:
    """(the field for a column, None), as chosen ("category", or {field: category, ...options}), else the one that sniffs best; or
    (None, why there is none)."""
    if chosen is not None:
        options = {"field": chosen} if isinstance(chosen, str) else dict(chosen) if isinstance(chosen, dict) else {}
        if "field" not in options:
            raise UserError(f"fields.{column.name} must be a field's name, or a mapping with the key `field`, not {chosen!r}.")
        options = {**usual.get(options["field"], {}), **options}
        field_class = FIELDS[options.pop("field")]
        return field_class((column.name,), configs.build(field_class.Config, options, f"fields.{column.name}")), None
    column = _light(column)
    scores = sorted(((cls.sniff(column), name, cls) for name, cls in FIELDS.items()), key=lambda score: -score[0])
    best, runner_up = scores[0], scores[1]
    if best[0] <= 0:
        return None, f"values of type {column.dtype}, which nothing here reads"
    made = best[2]((column.name,), configs.build(best[2].Config, usual.get(best[1], {})))
    if runner_up[0] > 0 and best[0] - runner_up[0] < 0.15 and best[0] < 0.97:  # one that is sure is not doubted
        made.doubts.append(f"could be {runner_up[1]}: --set 'fields.{column.name}={runner_up[1]}'")
    return made, None


def _light(column: pl.Series) -> pl.Series:
    """The sample, thinned to some 20 MB: a cell may hold a whole picture or document, and every field's sniff reads all of them."""
    if column.dtype not in (pl.String, pl.Binary):
        return column
    size = (column.str.len_bytes() if column.dtype == pl.String else column.bin.size()).sum()
    return column.gather_every(max(1, int(size) // 20_000_000))


def describe(schema: Schema) -> list[tuple[str, str, str, str]]:
    """(column, field, facts, doubts) of each column, for people."""
    lines = []
    for role, fields in (("", schema.inputs), (" (target)", schema.targets)):
        for each in fields.values():
            facts = f"{each.size - 1 - each.has_missing:,} values" if each.kind == "id" else ""
            if each.kind == "grid":
                facts = " x ".join(map(str, each.shape[1:])) + (", grey" if each.shape[0] == 1 else ", colour")
            facts = ", ".join(part for part in (facts, each.about(), "some missing" if each.has_missing else "") if part)
            lines.append((each.columns[0], _name_of(each) + role, facts, "; ".join(each.doubts)))
    return lines + [(name, "ignored", reason, "") for name, reason in schema.ignored.items()]
