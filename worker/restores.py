"""Restored backups: the datasets' links and the database change together, wherever scripts/restore.sh is killed.

The links are exchanged last, right before the commit. What they were and what they become is written to exchange.json
first. That record goes once the database has been asked: it was restored if it has the record's token.

Whoever restores or settles holds the lock on STATE_DIR.
"""

import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import sqlalchemy as sa

from worker.directories import locked, sync, target, try_lock
from worker.settings import Settings

log = logging.getLogger(__name__)

_RECORD = "exchange.json"
_LOCK_TIMEOUT = "30s"

MARK = "COMMENT ON TABLE public.alembic_version IS 'Restored from a backup: {token}';\n"
"""A statement of the transaction that restores the database, before the links are exchanged."""


@dataclass(frozen=True)
class Exchange:
    """Uploads by dataset: those that were there, and those of the backup."""

    token: str
    replaced: dict[str, str]
    restored: dict[str, str]


@contextmanager
def sole(settings: Settings) -> Iterator[None]:
    """Nobody else restores or settles meanwhile. Raises BlockingIOError where somebody does."""
    lock = try_lock(settings.state_dir)
    try:
        yield
    finally:
        os.close(lock)


def is_unsettled(settings: Settings) -> bool:
    """Whether links may have been exchanged of which it is not known whether they stay."""
    return (settings.restore_dir / _RECORD).exists()


def settle(engine: sa.Engine, settings: Settings) -> None:
    """Bring to its end what a restoration that was killed has left; one that is at work is let alone."""
    if not settings.restore_dir.exists():
        return
    try:
        with sole(settings):
            finish(engine, settings)
    except BlockingIOError:
        return


def exchange(settings: Settings, uploads: Mapping[str, str], token: str) -> None:
    """Make these uploads the datasets, by name, and no others; finish() must follow, whatever becomes of it."""
    root, folder = settings.uploads_dir, settings.restore_dir
    with locked(root):
        replaced = {path.name: name for path in root.iterdir() if (name := target(path))}
        _write(folder / _RECORD, Exchange(token, replaced, dict(uploads)))
        sync(settings.state_dir)
        for dataset in {*replaced, *uploads}:
            _link(root / dataset, uploads.get(dataset), folder)
        sync(root)


def finish(engine: sa.Engine, settings: Settings) -> bool:
    """Return whether the database was restored; if so it is brought up to date, otherwise the links are put back.

    Only for who is the sole() one.
    """
    is_restored = is_unsettled(settings) and _decide(engine, settings)
    # What cannot be removed now is the next one's, and says nothing.
    shutil.rmtree(settings.restore_dir, ignore_errors=True)
    return is_restored


def _decide(engine: sa.Engine, settings: Settings) -> bool:
    record = settings.restore_dir / _RECORD
    _make_room(record)
    made = Exchange(**json.loads(record.read_text()))
    is_restored = _was_committed(engine, made.token)
    if is_restored:
        # Imported here: it takes long, and this is rare.
        from worker import migrations

        migrations.upgrade(engine)
        log.info("settled: the backup was restored")
    else:
        _put_back(settings, made)
        log.info("settled: the backup was not restored, and nothing was changed")
    record.unlink()
    sync(record.parent)
    return is_restored


def _make_room(record: Path) -> None:
    """Remove all but the record: the disk may be full."""
    for path in record.parent.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path != record:
            path.unlink()


def _was_committed(engine: sa.Engine, token: str) -> bool:
    with engine.begin() as connection:
        if not connection.scalar(sa.text("SELECT to_regclass('public.alembic_version')")):
            return False
        # The server may still be committing for a client that was killed; it holds this table until it is done.
        connection.execute(sa.text(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'"))
        connection.execute(sa.text("LOCK TABLE public.alembic_version IN ACCESS SHARE MODE"))
        comment = connection.scalar(sa.text("SELECT obj_description('public.alembic_version'::regclass, 'pg_class')"))
    return token in (comment or "")


def _put_back(settings: Settings, made: Exchange) -> None:
    """Undo an exchange, or what was made of it; a dataset that was uploaded since stays."""
    root = settings.uploads_dir
    with locked(root):
        for dataset in {*made.replaced, *made.restored}:
            if target(root / dataset) == made.restored.get(dataset):
                _link(root / dataset, made.replaced.get(dataset), settings.restore_dir)
        sync(root)


def _link(dataset: Path, upload: str | None, folder: Path) -> None:
    """In one step; the folder is for what is to be the link."""
    if upload is None:
        dataset.unlink(missing_ok=True)
        return
    made = folder / "link"
    made.unlink(missing_ok=True)
    made.symlink_to(upload)
    made.replace(dataset)


def _write(record: Path, made: Exchange) -> None:
    """Whole or not at all, and on the disk."""
    new = record.with_suffix(".new")
    with new.open("w") as file:
        json.dump(asdict(made), file)
        file.flush()
        os.fsync(file.fileno())
    new.replace(record)
    sync(record.parent)
