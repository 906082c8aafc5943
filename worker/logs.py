"""Log lines: JSON on standard output, each with the id of the job it is about."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from pythonjsonlogger.json import JsonFormatter

_context: ContextVar[dict[str, str]] = ContextVar("log_context")


def set_up(program: str, *also: logging.Handler) -> None:
    """Send everything that is logged in this process to standard output, one JSON object a line, and `also` there."""
    formatter = JsonFormatter(
        ["asctime", "levelname", "name", "message"],
        rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
        static_fields={"program": program},
    )
    formatter.converter = time.gmtime
    formatter.default_time_format, formatter.default_msec_format = "%Y-%m-%dT%H:%M:%S", "%s.%03dZ"
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(formatter)
    handler.addFilter(add_context)
    logging.basicConfig(level=logging.INFO, handlers=[handler, *also], force=True)
    logging.captureWarnings(True)
    for name in ("celery.worker.strategy", "celery.app.trace"):  # what they say of a task, the task says better
        logging.getLogger(name).setLevel(logging.WARNING)


@contextmanager
def about(**fields: str) -> Iterator[None]:
    """Add fields such as `job_id` to every line that is logged inside."""
    token = _context.set(_context.get({}) | fields)
    try:
        yield
    finally:
        _context.reset(token)


def add_context(record: logging.LogRecord) -> bool:
    """A handler's filter that lets everything pass, with the fields of about()."""
    vars(record).update(_context.get({}))
    return True
