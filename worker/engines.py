"""Engines as the settings want them; one is opened before there is a job for it, which takes a tenth of a small job."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from etl import engines
from etl.engines import Engine
from worker import spill
from worker.settings import Settings

log = logging.getLogger(__name__)

EMBEDDED = "duckdb"


class Engines:
    """Lends engines that nobody has used yet."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ready: tuple[ExitStack, Engine] | None = None

    def get_ready(self) -> None:
        """Open the embedded engine that will be lent next, where jobs want one unless they say otherwise.

        What goes wrong is logged: the next job tries again, and may fail.
        """
        if self._ready or self._settings.etl_engine != EMBEDDED:
            return
        stack = ExitStack()
        try:
            self._ready = stack, stack.enter_context(self._opened(EMBEDDED))
        except Exception:
            log.exception("the next job has to open its engine")

    @contextmanager
    def lent(self, name: str) -> Iterator[Engine]:
        """Lend an engine of this name for one use; it is closed in the end."""
        with ExitStack() as stack:
            if self._ready and name == EMBEDDED:
                (opened, engine), self._ready = self._ready, None
                stack.push(opened)
            else:
                engine = stack.enter_context(self._opened(name))
            yield engine

    @contextmanager
    def _opened(self, name: str) -> Iterator[Engine]:
        settings = self._settings
        with (
            spill.directory(settings.spill_dir) as spill_directory,
            engines.connect(
                name,
                memory_bytes=settings.etl_memory_limit,
                threads=settings.etl_threads,
                spill_directory=spill_directory,
                spark_remote=settings.spark_remote,
            ) as engine,
        ):
            yield engine
