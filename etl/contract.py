"""The three input tables: columns, types, keys, references and rejection codes. Declared here and nowhere else.

Extraction (etl/reader.py) and validation (etl/validate.py) go by these declarations.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

LINE_BYTES_MAX = 1 << 20
VALUE_CHARS_MAX = 200
FIRST_DATE = "0001-01-01"

Type = Literal["integer", "number", "date", "text", "id_list"]


class FileCode(StrEnum):
    """Why a whole file cannot be used: the job fails with it and nothing is published."""

    MISSING_FILE = "missing_file"
    AMBIGUOUS_FILE = "ambiguous_file"
    EMPTY_FILE = "empty_file"
    MISSING_COLUMN = "missing_column"
    DUPLICATE_COLUMN = "duplicate_column"
    ENCODING = "encoding"
    UNTERMINATED_QUOTE = "unterminated_quote"
    NOT_A_REGULAR_FILE = "not_a_regular_file"
    TOO_LARGE = "too_large"
    INPUT_CHANGED = "input_changed"
    TOO_MANY_REJECTIONS = "too_many_rejections"


class LineCode(StrEnum):
    """Why one line was rejected: the line does not count, the job goes on."""

    WRONG_FIELD_COUNT = "wrong_field_count"
    TRUNCATED = "truncated"
    NUL_BYTE = "nul_byte"
    STRAY_QUOTE = "stray_quote"
    LINE_TOO_LONG = "line_too_long"
    MISSING_VALUE = "missing_value"
    INVALID_INTEGER = "invalid_integer"
    INVALID_NUMBER = "invalid_number"
    INVALID_DATE = "invalid_date"
    OUT_OF_RANGE = "out_of_range"
    DUPLICATE_KEY = "duplicate_key"
    UNKNOWN_USER = "unknown_user"


class ItemCode(StrEnum):
    """Why one item of a list does not count: its line is accepted all the same."""

    EMPTY_COMPOUND_ID = "empty_compound_id"
    INVALID_COMPOUND_ID = "invalid_compound_id"
    UNKNOWN_COMPOUND = "unknown_compound"


MESSAGES: dict[str, str] = {
    LineCode.WRONG_FIELD_COUNT: "the line does not have as many fields as the header",
    LineCode.TRUNCATED: "the file ends in the middle of this line",
    LineCode.NUL_BYTE: "the line contains a NUL byte",
    LineCode.STRAY_QUOTE: "a quote opens here and closes in the middle of a cell on a later line",
    LineCode.LINE_TOO_LONG: f"the line is longer than {LINE_BYTES_MAX} bytes",
    LineCode.MISSING_VALUE: "a value is required here",
    LineCode.INVALID_INTEGER: "this is not a whole number",
    LineCode.INVALID_NUMBER: "this is not a number",
    LineCode.INVALID_DATE: "this is not an ISO date (YYYY-MM-DD)",
    LineCode.OUT_OF_RANGE: "the number is outside the allowed range",
    LineCode.DUPLICATE_KEY: "an earlier line has the same key and other content; that one stays",
    LineCode.UNKNOWN_USER: "no accepted line of users.csv has this id",
    ItemCode.EMPTY_COMPOUND_ID: "an item of the list is empty",
    ItemCode.INVALID_COMPOUND_ID: "an item of the list is not a 64-bit whole number",
    ItemCode.UNKNOWN_COMPOUND: "no accepted line of compounds.csv has this id",
}


@dataclass(frozen=True)
class Reference:
    """Values of a column must occur as keys of another table; `code` names one that does not."""

    table: str
    code: LineCode | ItemCode


@dataclass(frozen=True)
class Column:
    """One column. `integer` means a signed 64-bit one, `number` a finite double; `minimum` bounds it from below."""

    name: str
    type: Type
    required: bool = True
    minimum: int | None = None
    reference: Reference | None = None


@dataclass(frozen=True)
class Table:
    """One input table. `key` names the column whose values are unique."""

    name: str
    key: str
    columns: tuple[Column, ...]

    @property
    def file(self) -> str:
        return f"{self.name}.csv"

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)


USERS = Table(
    "users",
    key="user_id",
    columns=(
        Column("user_id", "integer"),
        Column("name", "text"),
        Column("email", "text"),
        Column("signup_date", "date"),
    ),
)
COMPOUNDS = Table(
    "compounds",
    key="compound_id",
    columns=(
        Column("compound_id", "integer"),
        Column("compound_name", "text"),
        Column("compound_structure", "text", required=False),
    ),
)
USER_EXPERIMENTS = Table(
    "user_experiments",
    key="experiment_id",
    columns=(
        Column("experiment_id", "integer"),
        Column("user_id", "integer", reference=Reference("users", LineCode.UNKNOWN_USER)),
        Column(
            "experiment_compound_ids",
            "id_list",
            required=False,
            reference=Reference("compounds", ItemCode.UNKNOWN_COMPOUND),
        ),
        Column("experiment_run_time", "number", minimum=0),
    ),
)

# In this order: a table comes after those that it refers to.
TABLES = (USERS, COMPOUNDS, USER_EXPERIMENTS)
