"""What the API answers, as types: /openapi.json is made from them, and the tests hold every answer against them."""

from datetime import date, datetime
from typing import Annotated, Any, Literal, NotRequired
from uuid import UUID

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

Count = Annotated[int, Field(ge=0)]
NextCursor = Annotated[str | None, Field(description="the `cursor` of the next page; null after the last one")]


class Problem(TypedDict):
    """What went wrong (RFC 9457). `code` is stable; `detail` is for people."""

    type: Literal["about:blank"]
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    code: str
    detail: str
    parameter: NotRequired[Annotated[str, Field(description="which parameter, field or header is meant")]]
    request_id: NotRequired[Annotated[str, Field(description="under which the log has an internal error")]]


class LogLine(TypedDict):
    """A line of the service's log that is about the job."""

    at: datetime
    level: Literal["INFO", "WARNING", "ERROR", "CRITICAL"]
    message: str


class JobLog(TypedDict):
    items: list[LogLine]
    next_cursor: NextCursor


class Rejection(TypedDict):
    """A line or an item that did not count."""

    file: str
    line: Annotated[int, Field(ge=1)]
    column: str | None
    code: str
    message: str
    value: str | None


class Rejections(TypedDict):
    items: list[Rejection]
    next_cursor: NextCursor


class DiffCounts(TypedDict):
    added: Count
    removed: Count
    changed: Count


class OldAndNew(TypedDict):
    old: Any
    new: Any


class DiffItem(TypedDict):
    """A user with all columns, or with those that changed."""

    user_id: int
    change: Literal["added", "removed", "changed"]
    columns: dict[str, OldAndNew]


class Diff(TypedDict):
    """The users that differ between two versions; `counts` is on the first page only."""

    job_id: UUID
    against: UUID
    counts: DiffCounts | None
    items: list[DiffItem]
    next_cursor: NextCursor


@with_config(ConfigDict(extra="allow"))
class FeatureRow(TypedDict):
    """A user's published row. Further members are the columns of the features, as the view has them."""

    dataset: str
    user_id: int
    name: str
    email: str
    signup_date: date
    job_id: UUID
    computed_at: datetime


class FeatureRows(TypedDict):
    items: list[FeatureRow]
    next_cursor: NextCursor


class Lines(TypedDict):
    """Input lines behind a value: `count` of them, of which `lines` names the first."""

    file: str
    count: Count
    lines: list[Annotated[int, Field(ge=1)]]


class User(FeatureRow):
    """A user's row; with `explain=true` also the input lines behind the value of each column."""

    explanation: NotRequired[dict[str, list[Lines]]]


@with_config(ConfigDict(extra="allow"))
class Summary(TypedDict):
    """A dataset's published numbers. Further members are the columns of the summary, as the view has them."""

    dataset: str
    job_id: UUID
    computed_at: datetime


Bin = TypedDict("Bin", {"from": Count, "to": Count, "users": Count})


class TopCompound(TypedDict):
    """How many users have it as their most common compound."""

    compound_id: int
    compound_name: str
    users: Count


class SignupMonth(TypedDict):
    """The users who signed up in it; the mean run time is that of their experiments."""

    month: Annotated[str, Field(pattern="^[0-9]{4}-[0-9]{2}$")]
    users: Count
    experiments: Count
    average_run_time: float | None


class VersionStatistics(TypedDict):
    job_id: UUID
    computed_at: datetime
    average_experiments_per_user: float | None


class Statistics(TypedDict):
    """For charts. Bins are of equal width and include both bounds; versions are those that were published."""

    dataset: str
    job_id: UUID
    experiments_per_user: Annotated[list[Bin], Field(max_length=40)]
    top_compounds: Annotated[list[TopCompound], Field(max_length=20)]
    signup_months: list[SignupMonth]
    versions: list[VersionStatistics]


class DatasetFile(TypedDict):
    """A file as it is stored; `file` is its name in the contract, also where it is a .gz."""

    file: str
    bytes: Count


class Dataset(TypedDict):
    """A dataset's files, and what is published of it; null where nothing is yet."""

    name: str
    published_job_id: UUID | None
    published_at: datetime | None
    files: list[DatasetFile]
    is_mounted: Annotated[bool, Field(description="from DATA_DIR: nothing can be uploaded under this name")]


class Datasets(TypedDict):
    items: list[Dataset]
    next_cursor: NextCursor


class UploadedFile(TypedDict):
    """A file as it was received."""

    file: str
    bytes: Count
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class UploadLinks(TypedDict):
    """Where to go on from an upload."""

    jobs: str
    features: str
    publication: str


class Uploaded(TypedDict):
    """A dataset that was uploaded."""

    name: str
    files: list[UploadedFile]
    links: UploadLinks


class Version(TypedDict):
    """A version that is kept; `outcome` is that of its job."""

    job_id: UUID
    computed_at: datetime
    outcome: str
    published: bool


class Publication(TypedDict):
    """The published version of a dataset and all that are kept, newest first."""

    dataset: str
    job_id: UUID
    computed_at: datetime
    versions: list[Version]


class Health(TypedDict):
    status: Literal["ok"]


class Readiness(TypedDict):
    """What every component says; `ok`, or what is missing."""

    status: Literal["ok", "not ready"]
    database: str
    queue: str
    worker: str
