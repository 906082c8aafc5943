"""The three input tables: columns, types, keys, references and rejection codes. Declared here and nowhere else.

Extraction (etl/reader.py) and validation (etl/validate.py) go by these declarations.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NamedTuple

LINE_BYTES_MAX = 1 << 20
VALUE_CHARS_MAX = 200
FILE_BYTES_MAX = 64 << 30  # decompressed, unless it is set otherwise
MAX_REJECTED_RATIO = 0.1  # the same
FIRST_DATE = "0001-01-01"
ITEM_BLANKS = " \t\r\n"  # around an item of a list they do not count

Type = Literal["integer", "number", "date", "text", "id_list"]


class FileCode(StrEnum):
    """Why a whole file cannot be used: the job fails with it and nothing is published."""

    MISSING_FILE = "missing_file"
    AMBIGUOUS_FILE = "ambiguous_file"
    EMPTY_FILE = "empty_file"
    TOO_LARGE = "too_large"
    MISSING_COLUMN = "missing_column"
    DUPLICATE_COLUMN = "duplicate_column"
    ENCODING = "encoding"
    UNTERMINATED_QUOTE = "unterminated_quote"
    NOT_A_REGULAR_FILE = "not_a_regular_file"
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


Code = FileCode | LineCode | ItemCode


class Meaning(NamedTuple):
    """What a code says to a person, and what brings it about: a snippet of a file or a few words, as Markdown."""

    sentence: str
    example: str


CODES: dict[Code, Meaning] = {
    FileCode.MISSING_FILE: Meaning(
        "the dataset has neither the file nor its .gz", "a folder without `users.csv` and `users.csv.gz`"
    ),
    FileCode.AMBIGUOUS_FILE: Meaning("the file is there twice", "`users.csv` beside `users.csv.gz`"),
    FileCode.EMPTY_FILE: Meaning("the file has no header", "a file of 0 bytes, or of blank lines"),
    FileCode.TOO_LARGE: Meaning(
        "the file's content, decompressed, is larger than is allowed", "a `.gz` of 10 MB that holds 10 GB of zeros"
    ),
    FileCode.MISSING_COLUMN: Meaning("the header lacks a column of the contract", "`user_id,name,signup_date`"),
    FileCode.DUPLICATE_COLUMN: Meaning(
        "the header has a column of the contract twice", "`user_id,name,email,signup_date,Name`"
    ),
    FileCode.ENCODING: Meaning(
        "the file is not UTF-8, or its .gz is damaged", "the name `José` in Latin-1; a `.gz` that breaks off"
    ),
    FileCode.UNTERMINATED_QUOTE: Meaning(
        f"a quote is opened and not closed within {LINE_BYTES_MAX} bytes", '`1,"Ann,ann@example.com,2024-01-01`'
    ),
    FileCode.NOT_A_REGULAR_FILE: Meaning(
        "the file is a link, a pipe, a device or a directory, or may not be read", "`ln -s /srv/users.csv users.csv`"
    ),
    FileCode.INPUT_CHANGED: Meaning(
        "the file was changed while the dataset was being read", "an export that still runs when the job starts"
    ),
    FileCode.TOO_MANY_REJECTIONS: Meaning(
        "a greater share of a file's lines was rejected than is allowed", "2 of 10 lines, where 0.1 is allowed"
    ),
    LineCode.WRONG_FIELD_COUNT: Meaning("the line does not have as many fields as the header", "`1,n,e`"),
    LineCode.TRUNCATED: Meaning("the file ends in the middle of this line", "`1,n,e` at the end, without a line feed"),
    LineCode.NUL_BYTE: Meaning("the line contains a NUL byte", "`1,n\\0,e,2024-01-01`"),
    LineCode.STRAY_QUOTE: Meaning(
        "a quote opens here and closes in the middle of a cell on a later line",
        '`2,"Bob,e,2024-01-01`, and quotes again further down',
    ),
    LineCode.LINE_TOO_LONG: Meaning(f"the line is longer than {LINE_BYTES_MAX} bytes", "a line of 2 MB"),
    LineCode.MISSING_VALUE: Meaning("a value is required here", "`1,,e,2024-01-01`"),
    LineCode.INVALID_INTEGER: Meaning("this is not a whole number", "`1.0,n,e,2024-01-01`"),
    LineCode.INVALID_NUMBER: Meaning("this is not a number", '`1,1,1;2,"1,5"`'),
    LineCode.INVALID_DATE: Meaning("this is not an ISO date (YYYY-MM-DD)", "`1,n,e,2024-02-30`"),
    LineCode.OUT_OF_RANGE: Meaning("the number is outside the allowed range", "`1,1,1;2,-0.5`"),
    LineCode.DUPLICATE_KEY: Meaning(
        "an earlier line has the same key and other content; that one stays",
        "`1,n,e,2024-01-01`, then `1,m,e,2024-01-01`",
    ),
    LineCode.UNKNOWN_USER: Meaning("no accepted line of users.csv has this id", "`1,99,1;2,1.5`"),
    ItemCode.EMPTY_COMPOUND_ID: Meaning("an item of the list is empty", "`1,1,1;;2,1.5`"),
    ItemCode.INVALID_COMPOUND_ID: Meaning("an item of the list is not a 64-bit whole number", "`1,1,1;x,1.5`"),
    ItemCode.UNKNOWN_COMPOUND: Meaning("no accepted line of compounds.csv has this id", "`1,1,1;99,1.5`"),
}

MESSAGES: dict[str, str] = {code: meaning.sentence for code, meaning in CODES.items() if not isinstance(code, FileCode)}


@dataclass(frozen=True)
class Reference:
    """Values of a column must occur as keys of another table; `code` names one that does not."""

    table: str
    code: LineCode | ItemCode


@dataclass(frozen=True)
class Column:
    """One column. `integer` means a signed 64-bit one, `number` a finite double; `minimum` bounds it from below.

    `description` is a phrase for a person, as Markdown.
    """

    name: str
    type: Type
    description: str
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
    def file_names(self) -> tuple[str, str]:
        """What the file may be called in a dataset."""
        return self.file, f"{self.file}.gz"

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)


def repeat_of(name: str) -> str:
    """Of a column of lists of ids: the column that tells, once they are read, whether one occurs twice in a list."""
    return f"{name}_repeat"


USERS = Table(
    "users",
    key="user_id",
    columns=(
        Column("user_id", "integer", "the user's id"),
        Column("name", "text", "the user's name"),
        Column("email", "text", "the user's address; not looked into"),
        Column("signup_date", "date", "the day on which the user signed up"),
    ),
)
COMPOUNDS = Table(
    "compounds",
    key="compound_id",
    columns=(
        Column("compound_id", "integer", "the compound's id"),
        Column("compound_name", "text", "the compound's name"),
        Column(
            "compound_structure",
            "text",
            "the compound's structure, such as SMILES; it is not looked into",
            required=False,
        ),
    ),
)
USER_EXPERIMENTS = Table(
    "user_experiments",
    key="experiment_id",
    columns=(
        Column("experiment_id", "integer", "the experiment's id"),
        Column("user_id", "integer", "who ran the experiment", reference=Reference("users", LineCode.UNKNOWN_USER)),
        Column(
            "experiment_compound_ids",
            "id_list",
            "the compounds used, separated by `;`",
            required=False,
            reference=Reference("compounds", ItemCode.UNKNOWN_COMPOUND),
        ),
        Column("experiment_run_time", "number", "how long the experiment ran", minimum=0),
    ),
)

# In this order: a table comes after those that it refers to.
TABLES = (USERS, COMPOUNDS, USER_EXPERIMENTS)
