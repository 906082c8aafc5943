"""A restoration that was killed: the datasets go by what became of the database, and no upload is lost."""

import os
from pathlib import Path

import pytest

from tests.conftest import InProcess
from worker import restores, uploads
from worker.settings import Settings


def _links(settings: Settings) -> dict[str, str]:
    return {path.name: path.readlink().name for path in settings.uploads_dir.iterdir() if path.is_symlink()}


def _uploads(settings: Settings) -> set[str]:
    return {path.name for path in settings.uploads_dir.iterdir() if not path.is_symlink()}


OLD = {"lab": ".upload-old", "other": ".upload-other"}
NEW = {"lab": ".upload-new", "added": ".upload-new"}


@pytest.fixture
def killed(in_process: InProcess) -> InProcess:
    """When the links were those of the backup, and the database may have been restored or not."""
    settings = in_process.settings
    replaced = settings.restore_dir / "replaced"
    for directory in (settings.uploads_dir, replaced):
        directory.mkdir(parents=True)
    for upload in {*OLD.values(), *NEW.values()}:
        (settings.uploads_dir / upload).mkdir()
    for links, directory in ((OLD, replaced), (NEW, settings.uploads_dir)):
        for name, upload in links.items():
            (directory / name).symlink_to(upload)
    [row] = in_process.query("SELECT CAST(CAST('jobs' AS regclass) AS oid) AS oid")
    (settings.restore_dir / "jobs").write_text(f"{row['oid']}\n")
    return in_process


def _settle(killed: InProcess) -> None:
    restores.settle(killed.engine, killed.settings)


def test_the_old_datasets_come_back_where_the_database_was_not_restored(killed: InProcess) -> None:
    uploads.drop_leftovers(killed.settings)
    _settle(killed)
    uploads.drop_leftovers(killed.settings)

    assert _links(killed.settings) == OLD
    assert _uploads(killed.settings) == set(OLD.values())
    assert not killed.settings.restore_dir.exists()


def test_the_new_ones_stay_where_it_was(killed: InProcess) -> None:
    killed.execute("CREATE TABLE restored (LIKE jobs); DROP TABLE jobs CASCADE; ALTER TABLE restored RENAME TO jobs")

    _settle(killed)
    uploads.drop_leftovers(killed.settings)

    assert _links(killed.settings) == NEW
    assert _uploads(killed.settings) == set(NEW.values())
    assert not killed.settings.restore_dir.exists()


def test_who_is_killed_while_it_settles_has_changed_nothing_for_the_next(
    killed: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = Path.replace

    def fail_after_one(self: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "replace", _fail)
        return replace(self, target)

    def _fail(*_: object) -> Path:
        raise OSError("killed")

    monkeypatch.setattr(Path, "replace", fail_after_one)
    with pytest.raises(OSError, match="killed"):
        _settle(killed)
    monkeypatch.undo()

    _settle(killed)

    assert _links(killed.settings) == OLD


def test_one_that_is_at_work_is_let_alone(killed: InProcess) -> None:
    lock = uploads.lock(killed.settings.restore_dir)
    try:
        _settle(killed)
        uploads.drop_leftovers(killed.settings)
    finally:
        os.close(lock)

    assert _links(killed.settings) == NEW
    assert _uploads(killed.settings) == {*OLD.values(), *NEW.values()}


def test_what_was_killed_before_it_changed_anything_goes(killed: InProcess) -> None:
    (killed.settings.restore_dir / "replaced").rename(killed.settings.restore_dir / "copies")

    _settle(killed)

    assert _links(killed.settings) == NEW, "which are the old ones then"
    assert not killed.settings.restore_dir.exists()
