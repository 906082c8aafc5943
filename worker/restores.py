"""Restored backups: the datasets' links and the database change together, also where scripts/restore.sh was killed.

In STATE_DIR/restore, which is locked by who is at work on it:

    jobs         the table's oid before: a restored database has another table of that name
    replaced/    copies of the links that were the datasets, all of them: whole before the first one is changed

Once the second is there, the links are those of the backup, or on their way to that.
"""

import logging
import os
import shutil
from pathlib import Path

import sqlalchemy as sa

from worker import uploads
from worker.settings import Settings

log = logging.getLogger(__name__)


def settle(engine: sa.Engine, settings: Settings) -> None:
    """Finish a restoration that has ended, or undo it where the database was not restored; one under way goes on."""
    folder = settings.restore_dir
    try:
        alone = uploads.lock(folder)
    except (FileNotFoundError, BlockingIOError):
        return
    try:
        if (folder / "replaced").exists() and not _is_restored(engine, folder):
            with uploads.locked(settings.uploads_dir):
                _put_back(folder, settings.uploads_dir)
            log.info("the backup was not restored: the datasets are those from before")
        shutil.rmtree(folder)
    finally:
        os.close(alone)


def _is_restored(engine: sa.Engine, folder: Path) -> bool:
    with engine.connect() as connection:
        oid = connection.scalar(sa.text("SELECT CAST(CAST(to_regclass('public.jobs') AS oid) AS text)"))
    return bool(oid != (folder / "jobs").read_text().strip())


def _put_back(folder: Path, datasets: Path) -> None:
    """Any number of times: who is killed in here has changed nothing that the next one needs."""
    replaced = {link.name: link.readlink() for link in (folder / "replaced").iterdir()}
    for link in datasets.iterdir():
        if link.is_symlink() and link.name not in replaced:
            link.unlink()
    for name, upload in replaced.items():
        copy = folder / "link"
        copy.unlink(missing_ok=True)
        copy.symlink_to(upload)
        copy.replace(datasets / name)
    uploads.sync(datasets)
