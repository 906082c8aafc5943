"""run_job(job_id), the only task: claim the row, run the pipeline, finish the row with the publication."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from uuid import UUID

import sqlalchemy as sa
from celery import Celery
from celery.worker.request import Request
from psycopg2.extensions import connection as Connection  # noqa: N812 - psycopg2 writes its class in lower case

from etl import account, pipeline, publish, shortages
from etl.account import TooManyRejections
from etl.engines import Engine
from etl.errors import BadInput, Transient
from etl.files import Dataset, Snapshot
from etl.load import load_rejections
from etl.pipeline import Result
from etl.progress import Progress
from worker import database, disk, jobs, logs, queue, restores, spill
from worker.engines import EMBEDDED, Engines
from worker.job_log import JobLog
from worker.jobs import Job, LeaseLost
from worker.lease import Lease
from worker.settings import Settings

log = logging.getLogger(__name__)


class Taken(Request):
    """A message as the worker's parent knows it: there is nothing to acknowledge (worker/queue.py)."""

    def acknowledge(self) -> None:
        self.acknowledged = True


# Room and memory do not come back in a second.
SHORTAGE_PAUSE_S = 5

PUBLICATIONS = {"publish": publish.publish, "dry_run": publish.rehearse}


@dataclass(frozen=True)
class Runner:
    """Runs jobs; `worker` is the name that it claims them under."""

    settings: Settings
    engine: sa.Engine
    app: Celery
    worker: str
    job_log: JobLog = field(default_factory=JobLog)

    @cached_property
    def engines(self) -> Engines:
        return Engines(self.settings)

    def register(self) -> None:
        """Make run_job a task of the app."""
        self.app.task(name=queue.TASK, Request=Taken)(self.run_job)

    def warm_up(self) -> None:
        """Do everything once on next to no rows, so that the first job need not wait for imports and query plans.

        Not on a cluster: it may be away, and what takes long there is not the worker's.
        """
        with self.engines.lent(EMBEDDED) as engine, spill.directory(self.settings.spill_dir) as directory:
            pipeline.rehearse(engine, directory)

    def run_job(self, job_id: str) -> None:
        """Run the job if it is there to be taken, then ring for the next one of its dataset."""
        with logs.about(job_id=job_id):
            with self.engine.connect() as connection, connection.begin() as claiming:
                job = jobs.claim(connection, UUID(job_id), self.worker)
                # Its files may be a backup's. Nobody exchanges them now: who restores locks the jobs first.
                if restores.is_unsettled(self.settings):
                    claiming.rollback()
                    job = None
            if not job:
                log.info("not claimed: it does not wait any more, or waits for another job or for a restoration")
                return
            log.info("claimed: attempt %d of %d, by %s", job.attempt, jobs.ATTEMPTS_MAX, self.worker)
            try:
                self._finish(job)
            finally:
                self.job_log.keep(self.engine)
            self._ring_next(job.dataset)

    def _finish(self, job: Job) -> None:
        """Work, and write down how it ended."""
        with Lease(self.engine, job, self.job_log) as lease:
            try:
                with shortages.named():
                    outcome = self._work(job, lease)
            except LeaseLost:
                log.warning("attempt %d has lost its lease; it changed nothing", job.attempt)
            except TooManyRejections as error:
                log.warning("failed: %s: %s", error.code, error.detail)
                self._fail_with_rejections(job, lease, error)
            except BadInput as error:
                log.warning("failed: %s: %s", error.code, error.detail)
                self._fail(job, lease, error.code, error.detail)
            except Transient as error:
                self._postpone(job, lease, error.code, str(error))
            except database.CONNECTION_LOST as error:
                self._postpone(job, lease, "unavailable", f"something outside was away: {error}")
            except Exception:
                log.exception("failed")
                self._fail(job, lease, "internal_error", f"internal error; the worker logged it with job_id {job.id}")
            else:
                milliseconds = round(sum(lease.timings_ms.values()))
                log.info("%s %s in %d ms", outcome, job.dataset, milliseconds, extra={"timings_ms": lease.timings_ms})

    def _work(self, job: Job, lease: Lease) -> str:
        directory = self.settings.directory(job.dataset)
        if not directory:
            raise BadInput("unknown_dataset", f"the dataset {job.dataset} has no directory any more")
        files = Dataset(directory, self.settings.max_file_bytes)
        if job.mode == "publish" and not job.force and self._is_unchanged(job, files, lease):
            return "unchanged"
        with self.engines.lent(job.engine) as engine:
            return self._run(job, lease, files, engine)

    def _run(self, job: Job, lease: Lease, files: Dataset, engine: Engine) -> str:
        ended: Result
        publishing: sa.Connection

        @contextmanager
        def transaction() -> Iterator[Connection]:
            nonlocal publishing
            with self.engine.begin() as publishing:
                jobs.sign(publishing, job)
                connection = database.driver_connection(publishing)
                with lease.interrupting(connection.cancel):
                    yield connection

        def finish(_: Connection, result: Result) -> None:
            """In the publication's transaction: either both happened or neither did."""
            nonlocal ended
            ended = result
            lease.stop()
            jobs.succeed(
                publishing,
                job,
                result.outcome.name,
                [of_file.as_json() for of_file in result.accounts],
                lease.timings_ms,
                outcome_detail=result.outcome.detail,
            )

        with lease.interrupting(engine.interrupt):
            pipeline.run(
                job_id=job.id,
                dataset=job.dataset,
                files=files,
                engine=engine,
                transaction=transaction,
                publication=PUBLICATIONS[job.mode],
                finish=finish,
                max_rejected_ratio=job.max_rejected_ratio,
                on_stage=partial(self._stage, lease),
            )
        for of_file in ended.accounts:
            log.info("%s", of_file)
        if ended.outcome.detail:
            log.warning("%s: %s", ended.outcome.name, ended.outcome.detail)
        return ended.outcome.name

    @contextmanager
    def _stage(self, lease: Lease, name: str) -> Iterator[Progress]:
        """A stage of the lease that ends where the embedded database would soon have no room to work in."""
        with lease.stage(name) as progress:

            def report(done: int, total: int, unit: str) -> None:
                self._refuse_nearly_full_disk()
                progress(done, total, unit)

            yield report

    def _refuse_nearly_full_disk(self) -> None:
        """Raise Transient. A Postgres that cannot write its log stops, and all who read with it."""
        directory = self.settings.state_dir
        if not self.settings.database_is_embedded:
            return
        if disk.is_nearly_full(directory, reserve_bytes_max=disk.LEFT_TO_DATABASE_BYTES_MAX):
            raise Transient(f"{directory} is nearly full; what is left is for the database to go on with", "disk_full")

    def _is_unchanged(self, job: Job, files: Dataset, lease: Lease) -> bool:
        """Finish the job at once where the published version was made from these very files."""
        with self.engine.connect() as connection:
            if not publish.has_version(database.driver_connection(connection), job.dataset):
                return False
        with lease.stage("compare") as progress:
            fingerprint = pipeline.fingerprint(self._snapshots(files, progress))
        with self.engine.begin() as connection:
            driver_connection = database.driver_connection(connection)
            if not publish.is_published(driver_connection, job.dataset, fingerprint):
                return False
            publisher = jobs.publisher(connection, job.dataset)
            # The job that published it may have allowed more: then this one must look for itself.
            if any(account.is_excessive(of["rejected"], of["read"], job.max_rejected_ratio) for of in publisher.inputs):
                return False
            lease.stop()
            detail = f"job {publisher.id} made the published version from these files"
            jobs.succeed(connection, job, "unchanged", publisher.inputs, lease.timings_ms, outcome_detail=detail)
            return True

    def _snapshots(self, files: Dataset, progress: Progress) -> list[Snapshot]:
        total, done = sum(files.sizes().values()), 0

        def on_bytes(count: int) -> None:
            nonlocal done
            done += count
            progress(done, max(total, done), "bytes")

        return files.snapshots(on_bytes)

    def _postpone(self, job: Job, lease: Lease, code: str, detail: str) -> None:
        log.warning("attempt %d of %d came to nothing: %s: %s", job.attempt, jobs.ATTEMPTS_MAX, code, detail)
        lease.stop()
        pause_s = SHORTAGE_PAUSE_S if code in shortages.CODES else 1
        with self.engine.begin() as connection:
            jobs.postpone(connection, job, code, detail, pause_s=pause_s)

    def _fail(self, job: Job, lease: Lease, code: str, detail: str) -> None:
        lease.stop()
        with self.engine.begin() as connection:
            jobs.fail(connection, job, code, detail, lease.timings_ms)

    def _fail_with_rejections(self, job: Job, lease: Lease, error: TooManyRejections) -> None:
        """Who has to mend the files needs the account and some of the lines."""
        lease.stop()
        inputs = [of_file.as_json() for of_file in error.accounts]
        with self.engine.begin() as connection:
            if jobs.fail(connection, job, error.code, error.detail, lease.timings_ms, inputs):
                load_rejections(error.rejections, database.driver_connection(connection), job.id)

    def _ring_next(self, dataset: str) -> None:
        """A message for a job whose dataset was busy is gone by now: ring again for the one whose turn has come."""
        try:
            with self.engine.begin() as connection:
                waiting = jobs.next_of(connection, dataset)
            if waiting:
                queue.ring(self.app, waiting)
        except (queue.Unreachable, sa.exc.OperationalError) as error:
            log.warning("the next job of %s waits for the sweeper: %s", dataset, error)
