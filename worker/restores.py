"""Restored backups: the datasets' links and the database change together, wherever scripts/restore.sh is killed.

The links are exchanged when all else has been restored, and before that transaction is committed. How is written to
STATE_DIR/restore/exchange.json before the first of them changes, and stays there until it is known whether the
transaction was committed: the database has its token then.

Who restores, or settles what one who was killed has left, holds the lock on STATE_DIR.
"""

import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from worker.directories import locked, sync, target, try_lock
from worker.settings import Settings

log = logging.getLogger(__name__)

_EXCHANGE = "exchange.json"
_LOCK_TIMEOUT = "30s"

MARK = "COMMENT ON TABLE public.alembic_version IS 'Restored from a backup: {token}';\n"
"""A statement of the transaction that restores the database, before the links are exchanged."""


@contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """Nobody else restores or settles meanwhile. Raises BlockingIOError where somebody does."""
    lock = try_lock(settings.state_dir)
    try:
        yield
    finally:
        os.close(lock)


def is_unsettled(settings: Settings) -> bool:
    """Whether links may have been exchanged of which it is not known whether they stay."""
    return (settings.restore_dir / _EXCHANGE).exists()


def settle(engine: sa.Engine, settings: Settings) -> None:
    """Bring to its end what a restoration that was killed has left; one that is at work is let alone."""
    if not settings.restore_dir.exists():
        return
    try:
        with alone(settings):
            finish(engine, settings)
    except BlockingIOError:
        return


def exchange(settings: Settings, uploads: Mapping[str, str], token: str) -> None:
    """Make these uploads the datasets, by name, and no others; finish() must follow, whatever became of it."""
    root, folder = settings.uploads_dir, settings.restore_dir
    with locked(root):
        replaced = {path.name: name for path in root.iterdir() if (name := target(path))}
        _write(folder / _EXCHANGE, {"token": token, "replaced": replaced, "restored": dict(uploads)})
        sync(settings.state_dir)
        for dataset in {*replaced, *uploads}:
            _link(root / dataset, uploads.get(dataset), folder)
        sync(root)


def finish(engine: sa.Engine, settings: Settings) -> bool:
    """Return whether the database was restored; if so it is brought up to date, otherwise the links are put back.

    Only for who is alone().
    """
    folder, is_restored = settings.restore_dir, False
    if is_unsettled(settings):
        for path in folder.iterdir():  # room, where the disk is full
            if path.name != _EXCHANGE:
                remove(path)
        found = json.loads((folder / _EXCHANGE).read_text())
        is_restored = _has(engine, found["token"])
        if is_restored:
            # Here, because of all that it imports, for what hardly ever happens.
            from worker import migrations

            migrations.upgrade(engine)
        else:
            _put_back(settings, found["replaced"], found["restored"])
        (folder / _EXCHANGE).unlink()
        sync(folder)
        log.info("settled a restoration: the backup was %srestored", "" if is_restored else "not ")
    remove(folder)
    return is_restored


def remove(path: Path) -> None:
    """Remove a file, or a directory with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _has(engine: sa.Engine, token: str) -> bool:
    with engine.begin() as connection:
        if not connection.scalar(sa.text("SELECT to_regclass('public.alembic_version')")):
            return False
        # A server whose client was killed may be committing still: it holds this table until then.
        connection.execute(sa.text(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'"))
        connection.execute(sa.text("LOCK TABLE public.alembic_version IN ACCESS SHARE MODE"))
        comment = connection.scalar(sa.text("SELECT obj_description('public.alembic_version'::regclass, 'pg_class')"))
    return token in (comment or "")


def _put_back(settings: Settings, replaced: Mapping[str, str], restored: Mapping[str, str]) -> None:
    """Undo an exchange, or what was made of it; a dataset that was uploaded since stays."""
    root = settings.uploads_dir
    with locked(root):
        for dataset in {*replaced, *restored}:
            if target(root / dataset) == restored.get(dataset):
                _link(root / dataset, replaced.get(dataset), settings.restore_dir)
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


def _write(path: Path, found: object) -> None:
    """Whole or not at all, and on the disk."""
    made = path.with_suffix(".new")
    with made.open("w") as file:
        json.dump(found, file)
        file.flush()
        os.fsync(file.fileno())
    made.replace(path)
    sync(path.parent)
