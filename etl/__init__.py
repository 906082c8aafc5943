"""The pipeline: CSV files -> checked tables -> features -> a published version in Postgres.

`from etl import run`: the features of a folder as pandas frames, without any server.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from etl.frames import run as run

__all__ = ["run"]


def __getattr__(name: str) -> Any:
    """Import what brings pandas and an engine along only where it is asked for: the API runs without them."""
    if name == "run":
        from etl.frames import run

        return run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
