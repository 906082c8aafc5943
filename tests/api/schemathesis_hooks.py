"""What schemathesis takes for a failure and is none: a description cannot say what depends on earlier answers."""

from typing import Any

import schemathesis
from schemathesis.openapi.checks import RejectedPositiveData

# Each names what a request may not hold although every part of it is as described.
REFUSED_FOR_THEIR_MEANING = (
    "cursor: a next_cursor of an earlier answer",  # any other text was never a cursor
    *(f"{name}: a file holds all rows" for name in ("sort", "limit", "cursor")),  # with `format`, or with Accept
    "job: a job belongs to one dataset",  # each of the two parameters is fine without the other
    "against: a job of the same dataset",
    "Idempotency-Key: this key was used for another request",
    # The names of the files count, and a description has those of the fields.
    "users.csv: the upload has neither",
    "a part has no file name",
    "published is ",  # If-Match names something else: that is what it is for
)


@schemathesis.hook
def filter_failure(_context: Any, failure: Any, _case: Any, response: Any) -> bool:
    """Keep every failure but that a request was refused for one of these reasons."""
    if not isinstance(failure, RejectedPositiveData):
        return True
    return not response.json()["detail"].startswith(REFUSED_FOR_THEIR_MEANING)
