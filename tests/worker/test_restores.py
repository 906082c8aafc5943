"""A restoration that is killed: the datasets go by what became of the database, and no upload is lost."""

import hashlib
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.conftest import ROOT, SAMPLE, InProcess, Programs
from tests.servers import wait_until
from worker import database, load_backup, restores, sweeper, uploads
from worker.settings import Settings

TOKEN = "8c1f0e"


def _links(settings: Settings) -> dict[str, str]:
    return {path.name: path.readlink().name for path in settings.uploads_dir.iterdir() if path.is_symlink()}


def _uploads(settings: Settings) -> set[str]:
    return {path.name for path in settings.uploads_dir.iterdir() if not path.is_symlink()}


def _upload(settings: Settings, dataset: str) -> None:
    with uploads.staged(settings, 0) as upload:
        for path in SAMPLE.glob("*.csv"):
            upload.begin(path.name)
            upload.write(path.read_bytes())
            upload.end()
        upload.publish(dataset)


OLD = {"lab": ".upload-old", "other": ".upload-other"}
NEW = {"lab": ".upload-new", "added": ".upload-new"}


@pytest.fixture
def unrestored(in_process: InProcess) -> InProcess:
    """Before the links are exchanged."""
    settings = in_process.settings
    for directory in (settings.uploads_dir, settings.restore_dir):
        directory.mkdir(parents=True)
    for upload in {*OLD.values(), *NEW.values()}:
        (settings.uploads_dir / upload).mkdir()
    for name, upload in OLD.items():
        (settings.uploads_dir / name).symlink_to(upload)
    (settings.restore_dir / "database").write_bytes(b"much")
    return in_process


@pytest.fixture
def exchanged(unrestored: InProcess) -> InProcess:
    """When the links are those of the backup, and the database may have been restored or not."""
    restores.exchange(unrestored.settings, NEW, TOKEN)
    assert _links(unrestored.settings) == NEW
    return unrestored


def _settled(killed: InProcess) -> tuple[dict[str, str], set[str]]:
    """The datasets and the uploads when the sweeper has been there, of whom one is enough."""
    sweeper.keep_house(killed.engine, killed.settings)
    assert not killed.settings.restore_dir.exists()
    return _links(killed.settings), _uploads(killed.settings)


def _mark(killed: InProcess, token: str = TOKEN) -> None:
    killed.execute(restores.MARK.format(token=token))


def test_the_old_datasets_come_back_where_the_database_was_not_restored(exchanged: InProcess) -> None:
    _mark(exchanged, "another")

    assert _settled(exchanged) == (OLD, set(OLD.values()))


def test_the_backups_stay_where_the_database_was_restored(exchanged: InProcess) -> None:
    _mark(exchanged)

    assert _settled(exchanged) == (NEW, set(NEW.values()))


def test_a_restored_database_of_an_older_version_is_brought_up_to_date(exchanged: InProcess) -> None:
    _mark(exchanged)
    exchanged.execute("DROP TABLE version_statistics; UPDATE alembic_version SET version_num = '0005'")

    _settled(exchanged)

    with exchanged.engine.connect() as connection:
        assert database.is_prepared(connection)


def test_a_database_in_which_nothing_is_was_not_restored(exchanged: InProcess) -> None:
    exchanged.execute("DROP TABLE alembic_version")

    _settled(exchanged)

    assert _links(exchanged.settings) == OLD


def test_what_a_server_commits_without_its_client_counts(exchanged: InProcess) -> None:
    with ThreadPoolExecutor(1) as threads, exchanged.engine.connect() as connection:
        with connection.begin():
            connection.execute(sa.text("LOCK TABLE alembic_version"))
            connection.execute(sa.text(restores.MARK.format(token=TOKEN)))
            settling = threads.submit(_settled, exchanged)
            waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'alembic_version'::regclass"
            wait_until(lambda: exchanged.query(waiting), "it waits for the server")
        links, _ = settling.result(30)

    assert links == NEW


def test_a_dataset_that_was_uploaded_since_stays(exchanged: InProcess) -> None:
    for dataset in ("lab", "later"):
        _upload(exchanged.settings, dataset)
    uploaded = _links(exchanged.settings)

    links, _ = _settled(exchanged)

    assert links == {"lab": uploaded["lab"], "later": uploaded["later"], "other": OLD["other"]}


@pytest.mark.parametrize("after", [0, 1, 2])
def test_who_is_killed_in_the_middle_of_the_exchange_has_changed_nothing(
    unrestored: InProcess, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    _fail_after(monkeypatch, after)
    with pytest.raises(InterruptedError):
        restores.exchange(unrestored.settings, NEW, TOKEN)
    monkeypatch.undo()
    uploads.drop_leftovers(unrestored.settings)

    assert _settled(unrestored) == (OLD, set(OLD.values()))


@pytest.mark.parametrize("after", [0, 1, 2])
def test_who_is_killed_while_it_settles_leaves_it_to_the_next(
    exchanged: InProcess, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    _fail_after(monkeypatch, after)
    with pytest.raises(InterruptedError):
        restores.settle(exchanged.engine, exchanged.settings)
    monkeypatch.undo()
    uploads.drop_leftovers(exchanged.settings)

    assert _settled(exchanged) == (OLD, set(OLD.values()))


def _fail_after(monkeypatch: pytest.MonkeyPatch, links: int) -> None:
    link, left = restores._link, [None] * links

    def fail(dataset: Path, upload: str | None, folder: Path) -> None:
        if not left:
            raise InterruptedError
        left.pop()
        link(dataset, upload, folder)

    monkeypatch.setattr(restores, "_link", fail)


def test_who_is_killed_while_it_tidies_up_leaves_it_to_the_next(
    exchanged: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, **_: bool) -> None:
        raise InterruptedError(path)

    monkeypatch.setattr("shutil.rmtree", fail)
    with pytest.raises(InterruptedError):
        restores.settle(exchanged.engine, exchanged.settings)
    monkeypatch.undo()
    uploads.drop_leftovers(exchanged.settings)

    assert _settled(exchanged) == (OLD, set(OLD.values()))


def test_a_worker_settles_it_before_its_first_job(exchanged: InProcess) -> None:
    with Programs(exchanged.settings).worker():
        wait_until(lambda: not exchanged.settings.restore_dir.exists(), "it is settled")

    assert _links(exchanged.settings) == OLD


def test_no_job_runs_before_it_is_settled(exchanged: InProcess) -> None:
    job = exchanged.submit()

    assert exchanged.run_job(job).state == "queued"
    _settled(exchanged)
    assert exchanged.run_job(job).outcome == "published"


def test_one_that_cannot_be_settled_keeps_nobody_from_tidying_up(exchanged: InProcess) -> None:
    (exchanged.settings.restore_dir / "exchange.json").write_text("{")
    abandoned = exchanged.settings.spill_dir / "abandoned"
    abandoned.mkdir(parents=True)

    sweeper.keep_house(exchanged.engine, exchanged.settings)

    assert not abandoned.exists()
    assert _uploads(exchanged.settings) == {*OLD.values(), *NEW.values()}


def test_one_that_is_at_work_is_let_alone(exchanged: InProcess) -> None:
    with restores.sole(exchanged.settings):
        sweeper.keep_house(exchanged.engine, exchanged.settings)

    assert _links(exchanged.settings) == NEW
    assert _uploads(exchanged.settings) == {*OLD.values(), *NEW.values()}


# --- the program


@dataclass(frozen=True)
class Restoring:
    """A service with jobs and two uploads, and a backup of what it was with one of them."""

    service: InProcess
    backup: Path
    parts: Path

    def pack(self) -> None:
        """Make the backup of its parts, as scripts/backup.sh does."""
        names = ["manifest", "database", "datasets.tar"]
        sums = [hashlib.sha256((self.parts / name).read_bytes()).hexdigest() for name in names]
        written = "".join(f"{digest}  {name}\n" for digest, name in zip(sums, names, strict=True))
        (self.parts / "SHA256SUMS").write_text(written)
        with tarfile.open(self.backup, "w") as backup:
            for name in ("SHA256SUMS", *names):
                backup.add(self.parts / name, name)

    def run(self, *options: str, patch: str = "", kill_after_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Restore, in a process of its own in which something may be patched."""
        settings = self.service.settings
        program = [sys.executable, "-c", f"{patch}\nfrom worker import load_backup\nload_backup.main()"]
        with self.backup.open("rb") as file:
            return subprocess.run(
                ["timeout", "--signal=KILL", str(kill_after_s), *program, *options],
                cwd=ROOT,
                env=os.environ
                | {
                    "DATA_DIR": str(settings.data_dir),
                    "STATE_DIR": str(settings.state_dir),
                    "DATABASE_URL": settings.database_url,
                    "REDIS_URL": settings.redis_url,
                },
                stdin=file,
                capture_output=True,
                text=True,
                check=False,
            )

    def seen(self) -> tuple[list[str], set[str]]:
        """The jobs' datasets and the uploaded ones, each of which must be whole."""
        settings = self.service.settings
        for name in _links(settings):
            directory = settings.directory(name)
            assert directory
            assert (directory / "users.csv").exists()
        jobs = self.service.query("SELECT dataset FROM jobs ORDER BY created_at, id")
        return [job["dataset"] for job in jobs], set(_links(settings))


BEFORE = ["lab", "later"], {"lab", "later"}
AFTER = ["lab"], {"lab"}


@pytest.fixture
def restoring(in_process: InProcess, tmp_path: Path) -> Restoring:
    _upload(in_process.settings, "lab")
    in_process.run(dataset="lab")
    folder = tmp_path / "backup"
    folder.mkdir()
    newest = max(Path("/usr/lib/postgresql").glob("*/bin/pg_dump"), key=lambda path: int(path.parts[-3]))
    dump = [str(newest), "--format=custom", "--no-owner", "--exclude-table-data=worker_heartbeats"]
    subprocess.run([*dump, f"--file={folder / 'database'}", in_process.settings.database_url], check=True)
    with tarfile.open(folder / "datasets.tar", "w") as archive:
        archive.add(in_process.settings.uploads_dir, ".")
    (folder / "manifest").write_text(f"{load_backup.FORMAT} 0.1.0 {database.HEAD} 15\n")
    _upload(in_process.settings, "later")
    in_process.run(dataset="later")
    restoring = Restoring(in_process, tmp_path / "saved", folder)
    restoring.pack()
    return restoring


def test_a_backup_takes_the_place_of_all_that_was_there(restoring: Restoring) -> None:
    done = restoring.run("--force")

    assert (done.returncode, done.stdout) == (0, "Restored 1 jobs and 1 versions of 1 datasets.\n"), done.stderr
    assert restoring.seen() == AFTER
    assert not restoring.service.settings.restore_dir.exists()
    assert restoring.service.run(dataset="lab", force=True).outcome == "published"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda content: content[: len(content) // 2], "not a whole one"),
        (lambda content: content[:1024], "not a whole one"),
        (lambda content: content.replace(b"Carol", b"Daisy"), "datasets.tar is not as it was written"),
        (lambda content: content.replace(b"1 0.1.0 ", b"2 0.1.0 "), "manifest is not as it was written"),
        (lambda _: b"user_id,name\n", "this is no backup"),
        (lambda _: b"", "this is no backup"),
    ],
    ids=["cut", "begun", "damaged", "changed", "something else", "empty"],
)
def test_what_is_no_whole_backup_changes_nothing(
    restoring: Restoring, damage: Callable[[bytes], bytes], words: str
) -> None:
    restoring.backup.write_bytes(damage(restoring.backup.read_bytes()))

    refused = restoring.run("--force")

    assert refused.returncode == 1
    assert words in refused.stderr
    assert refused.stderr.endswith("; nothing was changed\n")
    assert restoring.seen() == BEFORE
    assert not restoring.service.settings.restore_dir.exists()


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        (f"2 9.9.9 {database.HEAD} 15", "made by version 9.9.9, which is newer than this one"),
        ("1 9.9.9 9999 15", "made by version 9.9.9, which is newer than this one"),
        ("2 9.9.9 and whatever that version wants to say", "made by version 9.9.9, which is newer than this one"),
        (f"1 0.1.0 {database.HEAD} 99", "of Postgres 99, which is newer than the one here"),
    ],
)
def test_a_backup_of_what_is_newer_changes_nothing(restoring: Restoring, manifest: str, words: str) -> None:
    (restoring.parts / "manifest").write_text(manifest)
    restoring.pack()

    refused = restoring.run("--force")

    assert (refused.returncode, words in refused.stderr) == (1, True), refused.stderr
    assert restoring.seen() == BEFORE


def test_a_dump_that_breaks_off_changes_nothing(restoring: Restoring) -> None:
    dump = restoring.parts / "database"
    dump.write_bytes(dump.read_bytes()[:-200])
    restoring.pack()

    refused = restoring.run("--force")

    assert (refused.returncode, "the backup was not restored" in refused.stderr) == (1, True), refused.stderr
    assert restoring.seen() == BEFORE


def test_only_the_parts_of_a_backup_are_unpacked(restoring: Restoring, tmp_path: Path) -> None:
    for name in ("exchange.json", "../exchange.json"):
        stranger = tmp_path / "stranger"
        stranger.write_text("{}")
        with tarfile.open(restoring.backup, "a") as backup:
            backup.add(stranger, name)

    assert restoring.run("--force").returncode == 0
    assert restoring.seen() == AFTER


def test_a_folder_of_another_user_is_refused(restoring: Restoring) -> None:
    if os.geteuid():
        pytest.skip("only root can make it another user's")
    os.chown(restoring.service.settings.uploads_dir, 65534, 65534)

    assert "is another user's: restore as the one who runs the service" in restoring.run("--force").stderr
    assert restoring.seen() == BEFORE


def test_a_server_that_goes_away_leaves_it_to_the_service(restoring: Restoring) -> None:
    patch = """
from worker import load_backup
from sqlalchemy.exc import OperationalError
def away(*arguments):
    raise OperationalError("SELECT", None, Exception("the server is away"))
load_backup.restores._was_committed = away
"""

    undecided = restoring.run("--force", patch=patch)

    assert undecided.stderr.endswith("Whether it was restored is not known yet; the service itself settles it\n")
    sweeper.keep_house(restoring.service.engine, restoring.service.settings)
    assert restoring.seen() == AFTER


def test_the_sweeper_removes_no_upload_that_is_being_restored(restoring: Restoring) -> None:
    patch = """
from worker import load_backup, uploads
restore = load_backup._restore
def sweeping(folder, settings, *arguments, **options):
    uploads.drop_leftovers(settings)
    return restore(folder, settings, *arguments, **options)
load_backup._restore = sweeping
"""

    assert restoring.run("--force", patch=patch).returncode == 0
    assert restoring.seen() == AFTER


def test_jobs_are_not_lost_unless_it_is_forced(restoring: Restoring) -> None:
    refused = restoring.run()

    assert refused.returncode == 1
    assert "this service has jobs; with --force they are lost" in refused.stderr
    assert restoring.seen() == BEFORE


def test_a_second_one_is_refused(restoring: Restoring) -> None:
    with restores.sole(restoring.service.settings):
        refused = restoring.run("--force")

    assert refused.stderr == "another one is restored or settled at the moment; nothing was changed\n"
    assert restoring.seen() == BEFORE


@pytest.mark.parametrize("dies", ["load_backup._check", "load_backup.restores.exchange"])
def test_killed_before_the_end_it_has_changed_nothing(restoring: Restoring, dies: str) -> None:
    """After what is named: the last is when only the commit is left."""
    killed = restoring.run("--force", patch=_killed_after(dies))

    assert killed.returncode == -signal.SIGKILL
    sweeper.keep_house(restoring.service.engine, restoring.service.settings)
    assert restoring.seen() == BEFORE
    assert restoring.service.run(dataset="later", force=True).outcome == "published"


@pytest.mark.parametrize("kill_after_s", [0.9, 1.1, 1.3, 1.5, 1.8])
def test_killed_at_any_moment_it_has_changed_all_or_nothing(restoring: Restoring, kill_after_s: float) -> None:
    restoring.run("--force", kill_after_s=kill_after_s)

    sweeper.keep_house(restoring.service.engine, restoring.service.settings)
    assert restoring.seen() in (BEFORE, AFTER)
    [dataset, *_] = restoring.seen()[0]
    assert restoring.service.run(dataset=dataset, force=True).outcome == "published"


def test_killed_it_can_be_tried_again_at_once(restoring: Restoring) -> None:
    restoring.run("--force", patch=_killed_after("load_backup.restores.exchange"))

    assert "this service has jobs" in restoring.run().stderr
    assert restoring.seen() == BEFORE
    assert restoring.run("--force").returncode == 0
    assert restoring.seen() == AFTER


def test_killed_after_the_commit_it_is_done(restoring: Restoring) -> None:
    killed = restoring.run("--force", patch=_killed_after("load_backup._restore"))

    assert killed.returncode == -signal.SIGKILL
    sweeper.keep_house(restoring.service.engine, restoring.service.settings)
    assert restoring.seen() == AFTER
    assert restoring.service.run(dataset="lab", force=True).outcome == "published"


def _killed_after(name: str) -> str:
    return f"""
import os, signal
from worker import load_backup
original = {name}
def killed(*arguments, **options):
    original(*arguments, **options)
    os.kill(os.getpid(), signal.SIGKILL)
{name} = killed
"""
