"""The two kinds of failure that a pipeline step can name; anything else is a defect of the program."""

ENGINE_UNAVAILABLE = "engine_unavailable"

# What a query says that was ended from another thread.
INTERRUPTED = "the query was interrupted"


class BadInput(Exception):  # noqa: N818 - the design's name
    """The input or the request cannot be used; trying again changes nothing.

    `code` is stable (etl/contract.py has those of files), `detail` is a sentence for a person.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class Transient(Exception):  # noqa: N818 - the design's name
    """Something was not there for a moment; the same job may well succeed a little later.

    `code` says what: `unavailable` (a server, a connection), `engine_unavailable`, `disk_full` or `out_of_memory`.
    """

    def __init__(self, detail: str, code: str = "unavailable") -> None:
        super().__init__(detail)
        self.code = code
