"""Records -> clean tables + rejections, as Ibis expressions over tables that the engine knows by name.

Extraction leaves the records of every table `t` in `typed_t`, where nothing is wrong with their cells, and in `raw_t`,
as text. Of these the steps make, in this order:

- `checked_t`: the records of `raw_t` with their cells as values, and the first thing wrong with each (`code`, `column`,
  `value`);
- `refused_t`: the lines that do not count, `code` being a contract code or `duplicate`;
- `clean_t`: the accepted lines;

and in the end `uses` (experiment, user, compound: once per experiment) and `rejections`. `counts()` is what all of that
amounts to. An engine that leaves `typed_t` empty gets the same results from `raw_t` alone.
"""

from collections.abc import Callable, Iterator
from functools import reduce

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
)

DUPLICATE = "duplicate"
REJECTION_COLUMNS = ("file", "line", "column", "code", "message", "value")

_INTEGER = r"^[+-]?[0-9]+$"
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_NOT_FINITE = r"(?i)^[+-]?(inf|infinity|nan)$"
_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"

_TYPES = {"integer": "int64", "number": "float64", "date": "date", "text": "string", "id_list": "string"}

Step = tuple[str, ir.Table]


def raw(table: Table) -> ir.Table:
    """Records as text."""
    return ibis.table({"line": "int64"} | dict.fromkeys(table.column_names, "string"), name=f"raw_{table.name}")


def typed(table: Table) -> ir.Table:
    """Records of which each cell can be used; lists of ids are text of digits, signs, blanks and semicolons."""
    return ibis.table(_record_schema(table), name=f"typed_{table.name}")


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


def rejections() -> ir.Table:
    """Every rejected line and item: REJECTION_COLUMNS."""
    return _step("rejections", _rejections())


def steps() -> Iterator[Step]:
    """Yield (table name, expression) in the order in which an engine must make them."""
    for table in TABLES:
        yield f"checked_{table.name}", _checked(table)
        yield f"refused_{table.name}", _refused(table)
        yield f"clean_{table.name}", _accepted(table)
    yield "uses", _uses()
    yield "rejections", _rejections()


def _step(name: str, expression: ir.Table) -> ir.Table:
    """The table that a step made, as input of a later one."""
    return ibis.table(expression.schema(), name=name)


def _record_schema(table: Table) -> dict[str, str]:
    return {"line": "int64"} | {column.name: _TYPES[column.type] for column in table.columns}


# --- one line


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
    return item.re_replace(rf"^[{ITEM_BLANKS}]+|[{ITEM_BLANKS}]+$", "")


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
            outside = value.isnull() | value.isinf()
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
    """The records with nothing wrong in themselves."""
    checked = _step(f"checked_{table.name}", _checked(table))
    return typed(table).union(checked.filter(checked.code.isnull()).select(*_record_schema(table)))


def _refused(table: Table) -> ir.Table:
    checked = _step(f"checked_{table.name}", _checked(table))
    wrong = checked.filter(checked.code.notnull()).select("line", "code", "column", "value")
    valid = _valid(table)
    for column in table.columns:
        if column.reference and isinstance(column.reference.code, LineCode):
            keys = _keys(column.reference.table, column.name)
            stray = valid.anti_join(keys, column.name)
            wrong = wrong.union(
                stray.select(
                    "line",
                    code=ibis.literal(str(column.reference.code)),
                    column=ibis.literal(column.name),
                    value=stray[column.name].cast("string"),
                )
            )
            valid = valid.semi_join(keys, column.name)
    return wrong.union(_repeats(table, valid))


def _keys(table_name: str, name: str) -> ir.Table:
    table = next(table for table in TABLES if table.name == table_name)
    return clean(table).select(**{name: table.key})


def _repeats(table: Table, valid: ir.Table) -> ir.Table:
    """Lines whose key an earlier line has: `duplicate` where that line is equal, else `duplicate_key`."""
    files = ibis.table({"file": "string", "keys_increase": "boolean"}, name="files")
    keys_increase = files.filter(files.file == table.file).keys_increase.max().as_scalar()
    valid = valid.filter(~keys_increase)
    per_key = valid.group_by(table.key).agg(lines=valid.count())
    several = valid.semi_join(per_key.filter(per_key.lines > 1), table.key)
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


def _accepted(table: Table) -> ir.Table:
    checked = _step(f"checked_{table.name}", _checked(table))
    refused = _step(f"refused_{table.name}", _refused(table))
    plain = _with_arrays(table, typed(table), lambda items: items.try_cast("array<int64>"))
    other = _with_arrays(
        table, checked.filter(checked.code.isnull()), lambda items: items.map(lambda item: _integer(_stripped(item)))
    )
    return plain.union(other).anti_join(refused, "line")


def _with_arrays(table: Table, records: ir.Table, ids: Callable[[ir.ArrayValue], ir.ArrayValue]) -> ir.Table:
    lists = [column.name for column in table.columns if column.type == "id_list"]
    arrays = {name: ids(records[name].split(";")).unique() for name in lists}
    return records.mutate(**arrays).select("line", *table.column_names)


# --- the items of the lists


def _items() -> ir.Table:
    experiments = clean(USER_EXPERIMENTS)
    return experiments.select(
        "line", "experiment_id", "user_id", compound_id=experiments.experiment_compound_ids.unnest()
    )


def _uses() -> ir.Table:
    return _items().semi_join(clean(COMPOUNDS), "compound_id").select("experiment_id", "user_id", "compound_id")


def _rejected_items() -> ir.Table:
    """The items of accepted lines that do not count; where every item became a use, no list is split again."""
    experiments, compounds = clean(USER_EXPERIMENTS), clean(COMPOUNDS)
    listed = experiments.experiment_compound_ids.length().sum().as_scalar()
    items = _items().filter(listed != uses().count().as_scalar())
    lines = items.anti_join(compounds, "compound_id").select("line").distinct()
    texts = _texts(USER_EXPERIMENTS, "experiment_compound_ids").semi_join(lines, "line")
    texts = texts.select("line", value=texts.experiment_compound_ids.split(";").unnest())
    texts = texts.mutate(value=_stripped(texts.value))
    texts = texts.mutate(compound_id=_integer(texts.value))
    wrong = texts.anti_join(compounds, "compound_id")
    code = ibis.cases(
        (wrong.value == "", ibis.literal(str(ItemCode.EMPTY_COMPOUND_ID))),
        (wrong.compound_id.isnull(), ibis.literal(str(ItemCode.INVALID_COMPOUND_ID))),
        else_=ibis.literal(str(ItemCode.UNKNOWN_COMPOUND)),
    )
    return _rejection(USER_EXPERIMENTS, wrong.mutate(code=code, column=ibis.literal("experiment_compound_ids")))


def _texts(table: Table, column: str) -> ir.Table:
    """A column of text as it was read, of every record."""
    return typed(table).select("line", column).union(raw(table).select("line", column))


# --- the account


def _rejection(table: Table, found: ir.Table) -> ir.Table:
    return found.select(file=ibis.literal(table.file), line="line", column="column", code="code", value="value")


def _rejected_lines(table: Table) -> ir.Table:
    refused = _step(f"refused_{table.name}", _refused(table))
    return _rejection(table, refused.filter(refused.code != DUPLICATE))


def _rejections() -> ir.Table:
    broken = defects().mutate(column=ibis.null("string")).select("file", "line", "column", "code", "value")
    parts = [broken, *(_rejected_lines(table) for table in TABLES), _rejected_items()]
    every = reduce(lambda left, right: left.union(right), parts)
    message = ibis.cases(*((every.code == str(code), ibis.literal(text)) for code, text in MESSAGES.items()))
    return every.select("file", "line", "column", "code", message=message, value=every.value.substr(0, VALUE_CHARS_MAX))


def counts() -> ir.Table:
    """Per file `read`, `accepted`, `duplicate`, `rejected`: counted apart from each other, so they can disagree."""

    def of_file(table: Table) -> ir.Table:
        refused = _step(f"refused_{table.name}", _refused(table))
        lost = defects().filter(defects().file == table.file).count().as_scalar()
        return typed(table).aggregate(
            file=ibis.literal(table.file),
            read=typed(table).count() + raw(table).count().as_scalar() + lost,
            accepted=clean(table).count().as_scalar(),
            duplicate=refused.filter(refused.code == DUPLICATE).count().as_scalar(),
            rejected=refused.filter(refused.code != DUPLICATE).count().as_scalar() + lost,
        )

    return reduce(lambda left, right: left.union(right), map(of_file, TABLES))


def rejection_counts() -> ir.Table:
    """Per file and code, the number of rejections."""
    return rejections().group_by("file", "code").agg(rejections=rejections().count())
