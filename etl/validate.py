"""Records -> clean tables + rejections, as Ibis expressions over tables that the engine knows by name.

Extraction leaves the records of every table `t` in `typed_t`, where nothing is wrong with their cells, and in `raw_t`,
as text. Of these the steps make, in this order:

- `checked_t`: the records of `raw_t` with their cells as values, and the first thing wrong with each (`code`, `column`,
  `value`);
- `refused_t`: the lines that do not count, `code` being a contract code or `duplicate`;
- `clean_t`: the accepted lines;

and in the end `uses` (experiment, user, compound: once per experiment), their number, and `rejections`. `counts()` is
what all of that amounts to. An engine that leaves `typed_t` empty gets the same results from `raw_t` alone.
"""

import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cache, reduce
from typing import Any, NamedTuple

import ibis
import ibis.expr.types as ir

from etl.contract import (
    COMPOUNDS,
    FIRST_DATE,
    ITEM_BLANKS,
    MESSAGES,
    TABLES,
    USER_EXPERIMENTS,
    VALUE_CHARS_MAX,
    Column,
    ItemCode,
    LineCode,
    Table,
    repeat_of,
)

DUPLICATE = "duplicate"
REJECTION_COLUMNS = ("file", "line", "column", "code", "message", "value")

# Not `$`, which to some engines is also the place before a last line break, and U+0085 is one to them.
_INTEGER = r"^[+-]?[0-9]+\z"
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\z"
_NOT_FINITE = r"(?i)^[+-]?(inf|infinity|nan)\z"
_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}\z"

_TYPES = {"integer": "int64", "number": "float64", "date": "date", "text": "string", "id_list": "array<int64>"}


class Step(NamedTuple):
    """A table that an engine makes; of a view it need keep no rows, for they are quickly made again.

    Where no table of `wrong` has a row, the step comes to `rest`, or to nothing: an engine may make that instead.
    """

    name: str
    expression: ir.Table
    is_view: bool = False
    wrong: tuple[str, ...] = ()
    rest: ir.Table | None = None


def raw(table: Table) -> ir.Table:
    """Records as text."""
    return ibis.table({"line": "int64"} | dict.fromkeys(table.column_names, "string"), name=f"raw_{table.name}")


def typed(table: Table) -> ir.Table:
    """Records of which each cell can be used, and of a list of ids each item; `<list>_repeat`: one occurs twice."""
    repeats = dict.fromkeys(map(repeat_of, _lists(table)), "boolean")
    return ibis.table(_schema(table, table.column_names) | repeats, name=f"typed_{table.name}")


def defects() -> ir.Table:
    """The lines that extraction found to be no records."""
    return ibis.table({"file": "string", "line": "int64", "code": "string", "value": "string"}, name="defects")


def clean(table: Table) -> ir.Table:
    """The accepted lines of a table: `line` and the contract's columns as values.

    A list is an array of its different ids; a null in it stands for all items that are none.
    """
    return ibis.table(_accepted(table).schema(), name=f"clean_{table.name}")


def uses() -> ir.Table:
    """Which accepted experiment used which accepted compound."""
    return ibis.table({"experiment_id": "int64", "user_id": "int64", "compound_id": "int64"}, name="uses")


def use_count() -> ir.IntegerScalar:
    """The number of uses."""
    return _step("use_count", _use_count()).uses.max().as_scalar()


def rejections() -> ir.Table:
    """Every rejected line and item: REJECTION_COLUMNS."""
    return _step("rejections", _rejections())


def steps() -> Iterator[Step]:
    """Yield the steps in the order in which an engine must make them."""
    for table in TABLES:
        raw_, checked, refused = (f"{kind}_{table.name}" for kind in ("raw", "checked", "refused"))
        yield Step(checked, _checked(table), wrong=(raw_,))
        yield Step(refused, _refused(table), wrong=(checked, "unordered"), rest=_plain_refused(table))
        yield Step(
            f"clean_{table.name}", _accepted(table), is_view=True, wrong=(checked, refused), rest=_plain_accepted(table)
        )
    yield Step("uses", _uses(), is_view=True)
    yield Step("use_count", _use_count())
    yield Step("lines_with_wrong_items", _lines_with_wrong_items())
    not_typed = [f"raw_{table.name}" for table in TABLES]
    not_accepted = ["defects", *(f"refused_{table.name}" for table in TABLES)]
    yield Step("rejections", _rejections(), wrong=(*not_accepted, "lines_with_wrong_items"))
    yield Step("line_counts", _line_counts(), wrong=(*not_typed, *not_accepted), rest=_plain_line_counts())


def _step(name: str, expression: ir.Table) -> ir.Table:
    """The table that a step made, as input of a later one."""
    return ibis.table(expression.schema(), name=name)


def _schema(table: Table, names: Collection[str]) -> dict[str, str]:
    return {"line": "int64"} | {column.name: _TYPES[column.type] for column in table.columns if column.name in names}


def _lists(table: Table) -> list[str]:
    return [column.name for column in table.columns if column.type == "id_list"]


def _scalars(table: Table) -> list[str]:
    return [column.name for column in table.columns if column.type != "id_list"]


def _union(tables: Iterable[ir.Table]) -> ir.Table:
    return reduce(lambda left, right: left.union(right), tables)


# --- one line


@cache
def _checked(table: Table) -> ir.Table:
    source = raw(table)
    codes = {column.name: _code(source[column.name], column) for column in table.columns}
    values = {column.name: _value(source[column.name], column) for column in table.columns}

    def of_first_wrong(told: dict[str, ir.Value]) -> ir.Value:
        return ibis.cases(*((codes[name].notnull(), value) for name, value in told.items()), else_=ibis.null("string"))

    return source.select(
        "line",
        **values,
        code=ibis.coalesce(*codes.values()),
        column=of_first_wrong({name: ibis.literal(name) for name in table.column_names}),
        value=of_first_wrong({name: source[name] for name in table.column_names}),
    )


def _value(cell: ir.StringValue, column: Column) -> ir.Value:
    if column.type in ("text", "id_list"):
        return cell
    pattern = {"integer": _INTEGER, "number": _NUMBER, "date": _DATE}[column.type]
    type_ = _TYPES[column.type]
    return cell.re_search(pattern).ifelse(cell.try_cast(type_), ibis.null(type_))


def _integer(cell: ir.StringValue) -> ir.IntegerValue:
    return cell.re_search(_INTEGER).ifelse(cell.try_cast("int64"), ibis.null("int64"))


def _stripped(item: ir.StringValue) -> ir.StringValue:
    return item.re_replace(rf"^[{ITEM_BLANKS}]+|[{ITEM_BLANKS}]+\z", "")


def _code(cell: ir.StringValue, column: Column) -> ir.StringValue:
    """Why this cell cannot be used, or null."""
    value = _value(cell, column)
    wrong: list[tuple[ir.BooleanValue, LineCode]] = []
    if column.required:
        wrong.append((cell.isnull(), LineCode.MISSING_VALUE))
    match column.type:
        case "integer":
            wrong += [(~cell.re_search(_INTEGER), LineCode.INVALID_INTEGER), (value.isnull(), LineCode.OUT_OF_RANGE)]
        case "number":
            outside = value.isnull() | (value.abs() > sys.float_info.max)
            if column.minimum is not None:
                outside |= value < column.minimum
            wrong += [
                (cell.re_search(_NOT_FINITE), LineCode.OUT_OF_RANGE),
                (~cell.re_search(_NUMBER), LineCode.INVALID_NUMBER),
                (outside, LineCode.OUT_OF_RANGE),
            ]
        case "date":
            wrong += [(value.isnull() | (cell < FIRST_DATE), LineCode.INVALID_DATE)]
    if not wrong:
        return ibis.null("string")
    code = ibis.cases(*((test, ibis.literal(str(code))) for test, code in wrong), else_=ibis.null("string"))
    return code if column.required else cell.notnull().ifelse(code, ibis.null("string"))


# --- lines against each other


def _valid(table: Table) -> ir.Table:
    """The records with nothing wrong in themselves, without their lists."""
    names = ("line", *_scalars(table))
    checked = _step(f"checked_{table.name}", _checked(table))
    return typed(table).select(*names).union(checked.filter(checked.code.isnull()).select(*names))


@cache
def _refused(table: Table) -> ir.Table:
    checked = _step(f"checked_{table.name}", _checked(table))
    wrong = checked.filter(checked.code.notnull()).select("line", "code", "column", "value")
    stray, valid = _parted(table, _valid(table))
    return _union([wrong, *stray, _repeats(table, valid)])


def _plain_refused(table: Table) -> ir.Table | None:
    """What is refused where every record is typed and no key can occur twice; None where nothing can be."""
    stray, _ = _parted(table, typed(table))
    return _union(stray) if stray else None


def _parted(table: Table, records: ir.Table) -> tuple[list[ir.Table], ir.Table]:
    """Return the refusals of those that refer to no accepted line, by each reference, and the other records."""
    refusals = []
    for column in table.columns:
        if column.reference and isinstance(column.reference.code, LineCode):
            keys = _keys(column.reference.table, column.name)
            stray = records.anti_join(keys, column.name)
            refusals.append(
                stray.select(
                    "line",
                    code=ibis.literal(str(column.reference.code)),
                    column=ibis.literal(column.name),
                    value=stray[column.name].cast("string"),
                )
            )
            records = records.semi_join(keys, column.name)
    return refusals, records


def _keys(table_name: str, name: str) -> ir.Table:
    table = next(table for table in TABLES if table.name == table_name)
    return clean(table).select(**{name: table.key})


def _repeats(table: Table, valid: ir.Table) -> ir.Table:
    """Lines whose key an earlier line has: `duplicate` where that line is equal, else `duplicate_key`."""
    unordered = ibis.table({"file": "string"}, name="unordered")
    valid = valid.filter(unordered.filter(unordered.file == table.file).count().as_scalar() > 0)
    per_key = valid.group_by(table.key).agg(lines=valid.count())
    several = _comparable(table, valid.semi_join(per_key.filter(per_key.lines > 1), table.key))
    ranked = several.select(
        "line",
        key=several[table.key].cast("string"),
        of_key=ibis.row_number().over(group_by=table.key, order_by="line"),
        of_line=ibis.row_number().over(group_by=table.column_names, order_by="line"),
    )
    later = ranked.filter(ranked.of_key > 0)
    equal = later.of_line > 0
    return later.select(
        "line",
        code=equal.ifelse(DUPLICATE, str(LineCode.DUPLICATE_KEY)),
        column=equal.ifelse(ibis.null("string"), table.key),
        value=equal.ifelse(ibis.null("string"), later.key),
    )


def _comparable(table: Table, lines: ir.Table) -> ir.Table:
    """These lines with their lists, as text without the blanks around items."""
    checked = _step(f"checked_{table.name}", _checked(table))
    of_typed = _with_lists(table, typed(table), lines, lambda ids: ids.map(lambda id_: id_.cast("string")))
    of_text = _with_lists(table, checked, lines, lambda text: text.split(";").map(_stripped))
    return of_typed.union(of_text)


def _with_lists(table: Table, records: ir.Table, lines: ir.Table, items: Callable[[Any], ir.ArrayValue]) -> ir.Table:
    few = records.semi_join(lines, "line")  # first, since making text of millions of lists takes long
    return few.select("line", *_scalars(table), **{name: items(few[name]).join(";") for name in _lists(table)})


@cache
def _accepted(table: Table) -> ir.Table:
    checked = _step(f"checked_{table.name}", _checked(table))
    refused = _step(f"refused_{table.name}", _refused(table))
    other = checked.filter(checked.code.isnull())
    ids = {name: other[name].split(";").map(lambda item: _integer(_stripped(item))).unique() for name in _lists(table)}
    both = _plain_accepted(table).union(other.mutate(**ids).select("line", *table.column_names))
    return both.anti_join(refused, "line")


def _plain_accepted(table: Table) -> ir.Table:
    """What is accepted where every record is typed and none refused."""
    records = typed(table)
    once = {name: records[repeat_of(name)].ifelse(records[name].unique(), records[name]) for name in _lists(table)}
    return records.mutate(**once).select("line", *table.column_names)


# --- the items of the lists


def _items() -> ir.Table:
    experiments = clean(USER_EXPERIMENTS)
    return experiments.select(
        "line", "experiment_id", "user_id", compound_id=experiments.experiment_compound_ids.unnest()
    )


@cache
def _uses() -> ir.Table:
    return _items().semi_join(clean(COMPOUNDS), "compound_id").select("experiment_id", "user_id", "compound_id")


@cache
def _use_count() -> ir.Table:
    return uses().agg(uses=uses().count())


def _lines_with_wrong_items() -> ir.Table:
    """Of the accepted lines."""
    return _items().anti_join(clean(COMPOUNDS), "compound_id").select("line").distinct()


def _rejected_items() -> ir.Table:
    """The items of accepted lines that do not count."""
    lines = _step("lines_with_wrong_items", _lines_with_wrong_items())
    found = _strays(typed(USER_EXPERIMENTS), lines).union(_wrong_items(raw(USER_EXPERIMENTS), lines))
    return _rejection(USER_EXPERIMENTS, found.mutate(column=ibis.literal("experiment_compound_ids")))


def _strays(records: ir.Table, lines: ir.Table) -> ir.Table:
    items = records.semi_join(lines, "line")
    items = items.select("line", compound_id=items.experiment_compound_ids.unnest())
    items = items.mutate(value=items.compound_id.cast("string"), code=ibis.literal(str(ItemCode.UNKNOWN_COMPOUND)))
    return items.anti_join(clean(COMPOUNDS), "compound_id").select("line", "value", "code")


def _wrong_items(records: ir.Table, lines: ir.Table) -> ir.Table:
    items = records.semi_join(lines, "line")
    items = items.select("line", value=items.experiment_compound_ids.split(";").unnest())
    items = items.mutate(value=_stripped(items.value))
    items = items.mutate(compound_id=_integer(items.value))
    wrong = items.anti_join(clean(COMPOUNDS), "compound_id")
    code = ibis.cases(
        (wrong.value == "", ibis.literal(str(ItemCode.EMPTY_COMPOUND_ID))),
        (wrong.compound_id.isnull(), ibis.literal(str(ItemCode.INVALID_COMPOUND_ID))),
        else_=ibis.literal(str(ItemCode.UNKNOWN_COMPOUND)),
    )
    return wrong.select("line", "value", code=code)


# --- the account


def _rejection(table: Table, found: ir.Table) -> ir.Table:
    return found.select(file=ibis.literal(table.file), line="line", column="column", code="code", value="value")


def _rejected_lines(table: Table) -> ir.Table:
    refused = _step(f"refused_{table.name}", _refused(table))
    return _rejection(table, refused.filter(refused.code != DUPLICATE))


@cache
def _rejections() -> ir.Table:
    broken = defects().mutate(column=ibis.null("string")).select("file", "line", "column", "code", "value")
    parts = [broken, *(_rejected_lines(table) for table in TABLES), _rejected_items()]
    every = _union(parts)
    message = ibis.cases(*((every.code == str(code), ibis.literal(text)) for code, text in MESSAGES.items()))
    return every.select("file", "line", "column", "code", message=message, value=every.value.substr(0, VALUE_CHARS_MAX))


def counts() -> ir.Table:
    """`lines` that were `read`, `accepted`, `duplicate` or `rejected` (`what`) per `file`, which are to be added up.

    They are counted apart from each other, so they can disagree.
    """
    return _step("line_counts", _line_counts())


@cache
def _line_counts() -> ir.Table:
    parts = [_plain_line_counts()]
    for table in TABLES:
        refused = _step(f"refused_{table.name}", _refused(table))
        lost = defects().filter(defects().file == table.file)
        parts += [
            _count(table, "read", raw(table)),
            _count(table, "read", lost),
            _count(table, "rejected", lost),
            _count(table, "rejected", refused.filter(refused.code != DUPLICATE)),
            _count(table, "duplicate", refused.filter(refused.code == DUPLICATE)),
        ]
    return _union(parts)


def _plain_line_counts() -> ir.Table:
    """The counts where every record is typed and none refused."""
    read = (_count(table, "read", typed(table)) for table in TABLES)
    return _union([*read, *(_count(table, "accepted", clean(table)) for table in TABLES)])


def _count(table: Table, what: str, lines: ir.Table) -> ir.Table:
    return lines.aggregate(file=ibis.literal(table.file), what=ibis.literal(what), lines=lines.count())


def rejection_counts() -> ir.Table:
    """Per file and code, the number of rejections."""
    return rejections().group_by("file", "code").agg(rejections=rejections().count())
