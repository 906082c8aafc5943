"""What scripts/restore.sh runs inside of the service: `python -m worker.load_backup [--force] <BACKUP`.

A backup is a tar of `manifest`, the `database` as pg_dump wrote it, `datasets.tar` with the uploads and their links
(worker/uploads.py), and the SHA-256 of each. All of it is restored or nothing is changed.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from itertools import islice
from pathlib import Path
from typing import IO, cast
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from etl.errors import BadInput
from worker import database, migrations, restores, uploads
from worker.settings import DATASET_NAME, UPLOADED_FILES, Settings

FORMAT = "1"
_PSQL = ["psql", "--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=VERBOSITY=terse"]
_PSQL += ["--set=ON_ERROR_STOP=1", "--dbname=keepalives_idle=10 keepalives_interval=5 keepalives_count=3"]
_PG_RESTORE = ["pg_restore", "--no-owner", "--no-privileges", "--file=-"]
_SETTINGS = 30  # its first lines
_NEWER_SETTING = b"SET transaction_timeout ="
_SUMS = "SHA256SUMS"
_PARTS = ("manifest", "database", "datasets.tar")

# Not only what the backup holds: a newer version's table or function would be in its own migration's way. What belongs
# to an extension stays.
_EMPTY = """
SET lock_timeout = '30s';
SET LOCAL synchronous_commit = on;
-- The server gives the jobs back soon after this machine has vanished.
SET tcp_keepalives_idle = 10;
SET tcp_keepalives_interval = 5;
SET tcp_keepalives_count = 3;
SET client_min_messages = warning;
LOCK TABLE public.jobs;
DO $$
DECLARE
    relation record;
    routine record;
BEGIN
    IF NOT {force} AND EXISTS (SELECT FROM public.jobs) THEN
        RAISE 'this service has jobs; with --force they are lost, and all versions and uploaded datasets with them';
    END IF;
    FOR relation IN
        SELECT oid::regclass AS name, relkind FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('v', 'm', 'r', 'p') AND NOT relispartition
            AND relowner = current_user::regrole
        ORDER BY relkind = 'v' DESC, relkind = 'm' DESC
    LOOP
        IF to_regclass(relation.name::text) IS NOT NULL THEN
            EXECUTE format(
                'DROP %s %s CASCADE',
                CASE relation.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'TABLE' END,
                relation.name
            );
        END IF;
    END LOOP;
    FOR routine IN
        SELECT oid::regprocedure AS name FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND proowner = current_user::regrole
            AND NOT EXISTS (
                SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = pg_proc.oid AND deptype = 'e'
            )
    LOOP
        EXECUTE format('DROP ROUTINE %s CASCADE', routine.name);
    END LOOP;
END $$;
"""
_COUNT = """
SELECT format(
    '{token} Restored %s jobs and %s versions of %s datasets.',
    (SELECT count(*) FROM public.jobs),
    (SELECT count(*) FROM public.dataset_versions),
    (SELECT count(*) FROM public.datasets)
);
"""

_NO_BACKUP = "this is no backup of scripts/backup.sh, or not a whole one"


class Refused(Exception):  # noqa: N818
    """Nothing was restored; the message is for a person."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m worker.load_backup", description="Restore a backup from stdin.")
    parser.add_argument("--force", action="store_true", help="also where the service has jobs, which are then lost")
    force = parser.parse_args().force
    os.umask(0o077)
    settings = Settings.from_env()
    try:
        with restores.sole(settings):
            print(load(database.engine(settings), settings, force=force))  # noqa: T201
    except BlockingIOError:
        sys.exit("another one is restored or settled at the moment; nothing was changed")
    except (Refused, BadInput, OSError, SQLAlchemyError, *database.CONNECTION_LOST) as error:
        if restores.is_unsettled(settings):
            sys.exit(f"{error}\nWhether it was restored is not known yet; the service itself settles it")
        sys.exit(f"{error}; nothing was changed")


def load(engine: sa.Engine, settings: Settings, *, force: bool) -> str:
    """Restore the backup on stdin, and return what it was. Raises Refused."""
    if settings.restore_dir.exists():
        restores.finish(engine, settings)
    settings.uploads_dir.mkdir(exist_ok=True)
    if settings.uploads_dir.stat().st_uid != os.geteuid():
        raise Refused(f"{settings.uploads_dir} is another user's: restore as the one who runs the service")
    folder = settings.restore_dir / "backup"
    folder.mkdir(parents=True)
    try:
        _unpack(folder)
        _check(engine, folder)
        with ExitStack() as stack:
            staged = dict(_staged(folder, settings, stack))
            counted = _restore(folder, settings, staged, force=force)
    finally:
        is_restored = restores.finish(engine, settings)
    if not is_restored:
        raise Refused("the backup was not restored")
    return counted


def _unpack(folder: Path) -> None:
    try:
        with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as backup:
            for member in backup:
                if member.isfile() and member.name in (_SUMS, *_PARTS):
                    backup.extract(member, folder, filter="data")
    except (tarfile.TarError, EOFError) as error:
        raise Refused(_NO_BACKUP) from error


def _check(engine: sa.Engine, folder: Path) -> None:
    if not all((folder / part).exists() for part in (_SUMS, *_PARTS)):
        raise Refused(_NO_BACKUP)
    sums = (folder / _SUMS).read_text().splitlines()
    for part in _PARTS:
        with (folder / part).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            if f"{digest}  {part}" not in sums:
                raise Refused(f"the backup is damaged: {part} is not as it was written")
    format_, version, *rest = (folder / "manifest").read_text().split()
    if format_ != FORMAT or not migrations.knows(rest[0]):
        raise Refused(f"the backup was made by version {version}, which is newer than this one: restore it with that")
    saved = int(rest[1])
    with engine.connect() as connection:
        here = int(connection.scalar(sa.text("SHOW server_version_num")) or 0) // 10000
    if saved > here:
        raise Refused(f"the backup is of Postgres {saved}, which is newer than the one here, {here}")


def _staged(folder: Path, settings: Settings, stack: ExitStack) -> Iterator[tuple[str, str]]:
    """Put the backup's uploads beside those that are there, where nobody removes them; yield dataset and upload."""
    unpacked = folder / "datasets"
    with tarfile.open(folder / "datasets.tar") as archive:
        archive.extractall(unpacked, filter="data")
    for link in unpacked.iterdir():
        if not link.is_symlink() or not DATASET_NAME.fullmatch(link.name):
            continue
        # By another name: the upload may be there, and be what another link names.
        upload, alive = uploads.stage(settings.uploads_dir, 0)
        stack.callback(os.close, alive)
        (unpacked / link.readlink() / UPLOADED_FILES).rename(upload / UPLOADED_FILES)
        yield link.name, upload.name
    os.sync()


def _restore(folder: Path, settings: Settings, staged: Mapping[str, str], *, force: bool) -> str:
    """Restore database and datasets in one step, or not; return how much there was of it.

    The lock on the jobs is taken first; who dies before the commit has changed nothing.
    """
    token, environ = uuid4().hex, settings.libpq_environ()
    with subprocess.Popen(  # noqa: S603 - nothing of a stranger's is in it
        _PSQL, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as session:
        statements, answers = cast(IO[bytes], session.stdin), cast(IO[bytes], session.stdout)
        # It ends at the first error, which it tells itself.
        with suppress(BrokenPipeError), statements:
            statements.write(b"BEGIN;\n" + _EMPTY.format(force=force).encode())
            _dump(folder, environ, statements)
            statements.write((restores.MARK + _COUNT).format(token=token).encode())
            statements.flush()
            counted = next((line.decode() for line in answers if line.startswith(token.encode())), "")
            if counted:
                restores.exchange(settings, staged, token)
                statements.write(b"COMMIT;\n")
                return counted.removeprefix(token).strip()
    raise Refused("the backup was not restored")


def _dump(folder: Path, environ: Mapping[str, str], statements: IO[bytes]) -> None:
    """Write the backup's database as statements. Raises Refused."""
    with subprocess.Popen(  # noqa: S603
        [*_PG_RESTORE, folder / "database"], env=environ, stdout=subprocess.PIPE
    ) as dump:
        lines = cast(IO[bytes], dump.stdout)
        # It sets what a server that is older than itself does not know.
        statements.writelines(line for line in islice(lines, _SETTINGS) if not line.startswith(_NEWER_SETTING))
        shutil.copyfileobj(lines, statements, 1 << 20)
    if dump.returncode:
        raise Refused("the backup was not restored")


if __name__ == "__main__":
    main()
