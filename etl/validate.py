"""Raw tables -> clean tables + rejections, as Ibis expressions over tables that the engine knows by name.

Of every table `t` the steps make, in this order:

- `checked_t`: each record with its cells as values, and the first thing wrong with it (`code`, `column`);
- `refused_t`: the lines that do not count, `code` being a contract code or `duplicate`;
- `clean_t`: the accepted lines;

and in the end `items` and `uses` (experiment, user, compound: once per experiment). `rejections()` and `counts()` are
what all of that amounts to.
"""

from collections.abc import Iterator
from functools import reduce

import ibis
import ibis.expr.types as ir

from etl.contract import (
    COMPOUNDS,
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
_FIRST_DATE = "0001-01-01"

_IBIS_TYPES = {"integer": "int64", "number": "float64", "date": "date", "text": "string", "id_list": "array<int64>"}

Step = tuple[str, ir.Table]


def raw(table: Table) -> ir.Table:
    """The records of a file as text: what extraction put into the engine."""
    return ibis.table({"line": "int64"} | dict.fromkeys(table.column_names, "string"), name=f"raw_{table.name}")


def defects() -> ir.Table:
    """The lines that extraction found to be no records."""
    return ibis.table({"file": "string", "line": "int64", "code": "string", "value": "string"}, name="defects")


def clean(table: Table) -> ir.Table:
    """The accepted lines of a table, typed."""
    columns = {column.name: _IBIS_TYPES[column.type] for column in table.columns}
    return ibis.table({"line": "int64"} | columns, name=f"clean_{table.name}")


def uses() -> ir.Table:
    """Which accepted experiment used which accepted compound."""
    return ibis.table({"experiment_id": "int64", "user_id": "int64", "compound_id": "int64"}, name="uses")


def steps() -> Iterator[Step]:
    """Yield (table name, expression) in the order in which an engine must make them."""
    for table in TABLES:
        yield f"checked_{table.name}", _checked(table)
        yield f"refused_{table.name}", _refused(table)
        yield f"clean_{table.name}", _accepted(table)
    yield "items", _items()
    yield "uses", _uses()


def _step(name: str, expression: ir.Table) -> ir.Table:
    """The table that a step made, as input of a later one."""
    return ibis.table(expression.schema(), name=name)


# --- one line


def _checked(table: Table) -> ir.Table:
    source = raw(table)
    codes = {column.name: _code(source[column.name], column) for column in table.columns}
    values = {column.name: _value(source[column.name], column) for column in table.columns}
    first = [(codes[name].notnull(), name) for name in table.column_names]
    return source.select(
        "line",
        **values,
        code=ibis.coalesce(*codes.values()),
        column=ibis.cases(*first, else_=ibis.null("string")),
    )


def _value(cell: ir.StringValue, column: Column) -> ir.Value:
    if column.type == "text":
        return cell
    if column.type == "id_list":
        return cell.split(";").map(lambda item: _integer(item.strip()))
    pattern = {"integer": _INTEGER, "number": _NUMBER, "date": _DATE}[column.type]
    type_ = _IBIS_TYPES[column.type]
    return cell.re_search(pattern).ifelse(cell.try_cast(type_), ibis.null(type_))


def _integer(cell: ir.StringValue) -> ir.IntegerValue:
    return cell.re_search(_INTEGER).ifelse(cell.try_cast("int64"), ibis.null("int64"))


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
            wrong += [(value.isnull() | (cell < _FIRST_DATE), LineCode.INVALID_DATE)]
    if not wrong:
        return ibis.null("string")
    code = ibis.cases(*((test, ibis.literal(str(code))) for test, code in wrong), else_=ibis.null("string"))
    return code if column.required else cell.notnull().ifelse(code, ibis.null("string"))


# --- lines against each other


def _refused(table: Table) -> ir.Table:
    checked = _step(f"checked_{table.name}", _checked(table))
    wrong = checked.filter(checked.code.notnull()).select("line", "code", "column")
    valid = checked.filter(checked.code.isnull())
    for column in table.columns:
        if column.reference and isinstance(column.reference.code, LineCode):
            keys = _keys(column.reference.table, column.name)
            stray = valid.anti_join(keys, column.name)
            wrong = wrong.union(
                stray.select("line", code=ibis.literal(str(column.reference.code)), column=ibis.literal(column.name))
            )
            valid = valid.semi_join(keys, column.name)
    return wrong.union(_repeats(table, valid))


def _keys(table_name: str, name: str) -> ir.Table:
    table = next(table for table in TABLES if table.name == table_name)
    return clean(table).select(**{name: table.key})


def _repeats(table: Table, valid: ir.Table) -> ir.Table:
    """Lines whose key an earlier line has: `duplicate` where that line is equal, else `duplicate_key`."""
    per_key = valid.group_by(table.key).agg(lines=valid.count())
    several = valid.semi_join(per_key.filter(per_key.lines > 1), table.key).select("line", key=table.key)
    cells = several.inner_join(raw(table), "line")
    ranked = cells.select(
        "line",
        of_key=ibis.row_number().over(group_by="key", order_by="line"),
        of_line=ibis.row_number().over(group_by=["key", *table.column_names], order_by="line"),
    )
    later = ranked.filter(ranked.of_key > 0)
    equal = later.of_line > 0
    return later.select(
        "line",
        code=equal.ifelse(DUPLICATE, str(LineCode.DUPLICATE_KEY)),
        column=equal.ifelse(ibis.null("string"), table.key),
    )


def _accepted(table: Table) -> ir.Table:
    checked = _step(f"checked_{table.name}", _checked(table))
    refused = _step(f"refused_{table.name}", _refused(table))
    return checked.anti_join(refused, "line").select("line", *table.column_names)


# --- the items of the lists


def _items() -> ir.Table:
    experiments = clean(USER_EXPERIMENTS)
    return experiments.select(
        "line", "experiment_id", "user_id", compound_id=experiments.experiment_compound_ids.unique().unnest()
    )


def _uses() -> ir.Table:
    items = _step("items", _items())
    return items.semi_join(clean(COMPOUNDS), "compound_id").select("experiment_id", "user_id", "compound_id")


def _rejected_items() -> ir.Table:
    """Only the lists with something wrong are split a second time, as text."""
    items = _step("items", _items())
    compounds = clean(COMPOUNDS)
    lines = items.anti_join(compounds, "compound_id").select("line").distinct()
    source = raw(USER_EXPERIMENTS).semi_join(lines, "line")
    texts = source.select("line", value=source.experiment_compound_ids.split(";").unnest())
    texts = texts.mutate(value=texts.value.strip())
    texts = texts.mutate(compound_id=_integer(texts.value))
    wrong = texts.anti_join(compounds, "compound_id")
    code = ibis.cases(
        (wrong.value == "", ibis.literal(str(ItemCode.EMPTY_COMPOUND_ID))),
        (wrong.compound_id.isnull(), ibis.literal(str(ItemCode.INVALID_COMPOUND_ID))),
        else_=ibis.literal(str(ItemCode.UNKNOWN_COMPOUND)),
    )
    return _rejection(USER_EXPERIMENTS, wrong.mutate(code=code, column=ibis.literal("experiment_compound_ids")))


# --- the account


def _rejection(table: Table, found: ir.Table) -> ir.Table:
    return found.select(file=ibis.literal(table.file), line="line", column="column", code="code", value="value")


def _rejected_lines(table: Table) -> ir.Table:
    refused = _step(f"refused_{table.name}", _refused(table))
    found = refused.filter(refused.code != DUPLICATE).inner_join(raw(table), "line")
    cells = [(found.column == name, found[name]) for name in table.column_names]
    return _rejection(table, found.mutate(value=ibis.cases(*cells, else_=ibis.null("string"))))


def rejections() -> ir.Table:
    """Every rejected line and item: REJECTION_COLUMNS."""
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
        return raw(table).aggregate(
            file=ibis.literal(table.file),
            read=raw(table).count() + lost,
            accepted=clean(table).count().as_scalar(),
            duplicate=refused.filter(refused.code == DUPLICATE).count().as_scalar(),
            rejected=refused.filter(refused.code != DUPLICATE).count().as_scalar() + lost,
        )

    return reduce(lambda left, right: left.union(right), map(of_file, TABLES))
