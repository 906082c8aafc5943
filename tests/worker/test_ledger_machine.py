"""Random histories of the ledger, with two workers and real publications, against a model of a few lines."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from hypothesis.strategies import booleans, data, integers, sampled_from

from etl import publish
from etl.publish import Version
from tests.conftest import InProcess, request
from tests.servers import wait_until
from worker import database, jobs
from worker.jobs import ATTEMPTS_MAX, FINAL_STATES, AlreadyFinished, Job, LeaseLost

DATASETS = ("a", "b")
WORKERS = ("w1", "w2")
LIMIT_S = 3600


@dataclass
class Expected:
    """What the ledger should say of a job."""

    dataset: str
    state: str = "queued"
    attempt: int = 0
    is_due: bool = True
    lease_expired: bool = False
    parent: UUID | None = None

    def goes_back(self) -> None:
        self.state = "queued" if self.attempt < ATTEMPTS_MAX else "failed"
        self.is_due = False


@dataclass
class Attempt:
    """One worker's attempt; it may have lost its job, or its transaction, and not know it."""

    worker: str
    job: Job
    transaction: sa.Connection | None = None
    killed: bool = False


@dataclass
class Model:
    jobs: dict[UUID, Expected] = field(default_factory=dict)
    published: dict[str, UUID | None] = field(default_factory=lambda: dict.fromkeys(DATASETS))
    versions: set[UUID] = field(default_factory=set)

    def in_state(self, *states: str) -> list[UUID]:
        return [job_id for job_id, job in self.jobs.items() if job.state in states]


_numbers = count()


class Ledger(RuleBasedStateMachine):
    """The dataset names are this history's own, so that the histories before it do not matter."""

    engine: sa.Engine

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.attempts: list[Attempt] = []
        self.history = next(_numbers)

    def teardown(self) -> None:
        for attempt in self.attempts:
            self._give_up(attempt)
        for job_id in self.model.in_state("queued", "running"):
            with self.engine.begin() as connection:
                jobs.cancel(connection, job_id)

    # --- what the API does

    @rule(dataset=sampled_from(DATASETS))
    def submit(self, dataset: str) -> None:
        with self.engine.begin() as connection:
            job, _ = jobs.submit(connection, request(dataset=self._name(dataset)), max_queued_jobs=10**6)
        self.model.jobs[job.id] = Expected(dataset)

    @precondition(lambda self: self.model.in_state(*FINAL_STATES))
    @rule(drawn=data())
    def retry(self, drawn: Any) -> None:
        parent = drawn.draw(sampled_from(self.model.in_state(*FINAL_STATES)))
        with self.engine.begin() as connection:
            of_parent = jobs.get(connection, parent).request
            job, _ = jobs.submit(connection, of_parent, max_queued_jobs=10**6, parent_id=parent)
        self.model.jobs[job.id] = Expected(self.model.jobs[parent].dataset, parent=parent)

    @precondition(lambda self: self.model.jobs)
    @rule(drawn=data())
    def cancel(self, drawn: Any) -> None:
        job_id = drawn.draw(sampled_from(sorted(self.model.jobs)))
        expected = self.model.jobs[job_id]
        with self.engine.begin() as connection:
            if expected.state in FINAL_STATES:
                with pytest.raises(AlreadyFinished, match=expected.state):
                    jobs.cancel(connection, job_id)
            else:
                jobs.cancel(connection, job_id)
                expected.state = "cancelled"

    # --- what the workers do

    @precondition(lambda self: self.model.jobs)
    @rule(drawn=data(), worker=sampled_from(WORKERS))
    def claim(self, drawn: Any, worker: str) -> None:
        """Any job, whatever its state: messages arrive twice, late, and for jobs that have ended."""
        job_id = drawn.draw(sampled_from(sorted(self.model.jobs)))
        expected = self.model.jobs[job_id]
        is_busy = any(self.model.jobs[other].dataset == expected.dataset for other in self.model.in_state("running"))
        with self.engine.begin() as connection:
            claimed = jobs.claim(connection, job_id, worker)
        assert bool(claimed) == (expected.state == "queued" and expected.is_due and not is_busy)
        if claimed:
            expected.state, expected.lease_expired = "running", False
            expected.attempt += 1
            self.attempts.append(Attempt(worker, claimed))
            self._stop_the_clock(job_id)

    @precondition(lambda self: self.attempts)
    @rule(drawn=data())
    def heartbeat(self, drawn: Any) -> None:
        attempt = drawn.draw(sampled_from(self.attempts))
        with self.engine.begin() as connection:
            assert jobs.renew(connection, attempt.job, "load", None) == self._holds(attempt)
        if self._holds(attempt):
            self.model.jobs[attempt.job.id].lease_expired = False
            self._stop_the_clock(attempt.job.id)

    @precondition(lambda self: any(not attempt.transaction for attempt in self.attempts))
    @precondition(lambda self: not any(attempt.transaction and not attempt.killed for attempt in self.attempts))
    @rule(drawn=data())
    def begin_to_publish(self, drawn: Any) -> None:
        """Everything but the commit. One at a time: a second one would wait for the lock on the dataset's pointer."""
        attempt = drawn.draw(sampled_from([attempt for attempt in self.attempts if not attempt.transaction]))
        table = f'"user_feature_versions_{attempt.job.id.hex}"'
        self._execute(f"CREATE TABLE IF NOT EXISTS {table} (LIKE user_feature_versions INCLUDING DEFAULTS)")
        attempt.transaction = self.engine.connect()
        if not self._holds(attempt):
            with pytest.raises(LeaseLost):
                jobs.sign(attempt.transaction, attempt.job)
            self._give_up(attempt)
            return
        jobs.sign(attempt.transaction, attempt.job)
        publish.publish(
            database.driver_connection(attempt.transaction),
            Version(attempt.job.id, attempt.job.dataset, "fingerprint", {}),
        )

    @precondition(lambda self: any(attempt.transaction for attempt in self.attempts))
    @rule(drawn=data())
    def commit(self, drawn: Any) -> None:
        attempt = drawn.draw(sampled_from([attempt for attempt in self.attempts if attempt.transaction]))
        assert attempt.transaction
        expected, held = self.model.jobs[attempt.job.id], self._holds(attempt)
        try:
            jobs.succeed(attempt.transaction, attempt.job, "published", [], {})
            attempt.transaction.commit()
        except LeaseLost:
            assert not held
        except database.CONNECTION_LOST:
            assert attempt.killed
            self._postpone(attempt)
        else:
            assert held
            assert not attempt.killed
            expected.state = "succeeded"
            self.model.published[expected.dataset] = attempt.job.id
            self.model.versions.add(attempt.job.id)
        self._give_up(attempt)

    @precondition(lambda self: self.attempts)
    @rule(drawn=data(), fails=booleans())
    def fail_or_postpone(self, drawn: Any, fails: bool) -> None:
        attempt = drawn.draw(sampled_from(self.attempts))
        if fails:
            with self.engine.begin() as connection:
                assert jobs.fail(connection, attempt.job, "code", "a sentence", {}) == self._holds(attempt)
            if self._holds(attempt):
                self.model.jobs[attempt.job.id].state = "failed"
        else:
            self._postpone(attempt)
        self._give_up(attempt)

    @rule(worker=sampled_from(WORKERS))
    def stop_a_worker(self, worker: str) -> None:
        held = [attempt for attempt in self.attempts if attempt.worker == worker and self._holds(attempt)]
        with self.engine.begin() as connection:
            released = set(jobs.release(connection, worker))
        ids = {attempt.job.id for attempt in held}
        for job_id in ids:
            self._goes_back(job_id)
        assert released & set(self.model.jobs) == {
            job_id for job_id in ids if self.model.jobs[job_id].state == "queued"
        }

    # --- what time and the sweeper do

    @precondition(lambda self: self.model.in_state("running"))
    @rule(drawn=data())
    def let_a_lease_expire(self, drawn: Any) -> None:
        job_id = drawn.draw(sampled_from(self.model.in_state("running")))
        self._execute("UPDATE jobs SET lease_expires_at = now() - interval '1 second' WHERE id = :id", id=job_id)
        self.model.jobs[job_id].lease_expired = True

    @rule()
    def let_a_few_seconds_pass(self) -> None:
        self._execute("UPDATE jobs SET due_at = now() WHERE state = 'queued'")
        for job in self.model.jobs.values():
            job.is_due = True

    @rule(overdue=integers(0, 9))
    def sweep(self, overdue: int) -> None:
        """Now and then so late that whatever runs is over its time."""
        is_overdue = overdue == 0
        if is_overdue:
            self._execute("UPDATE jobs SET started_at = now() - interval '2 hours' WHERE state = 'running'")
        with self.engine.begin() as connection:
            jobs.end_abandoned(connection)
            ended = set(jobs.end_overdue(connection, LIMIT_S))
            waiting = set(jobs.take_back_lost(connection))
        for attempt in self.attempts:
            is_abandoned = not self._holds(attempt) or self.model.jobs[attempt.job.id].lease_expired
            if attempt.transaction and not attempt.killed and is_abandoned:
                attempt.killed = True
                self._wait_for_the_end_of(attempt)
        running = self.model.in_state("running")
        for job_id in running:
            if is_overdue:
                self.model.jobs[job_id].state = "failed"
            elif self.model.jobs[job_id].lease_expired:
                self._goes_back(job_id)
        mine = set(self.model.jobs)
        assert ended & mine == (set(running) if is_overdue else set())
        assert waiting & mine == {job_id for job_id in running if self.model.jobs[job_id].state == "queued"}

    # --- what must hold after every step

    @invariant()
    def the_ledger_is_as_expected(self) -> None:
        rows = self._query("SELECT id, state, attempt, parent_id FROM jobs WHERE dataset = ANY(:names)")
        assert {row.id: (row.state, row.attempt, row.parent_id) for row in rows} == {
            job_id: (job.state, job.attempt, job.parent) for job_id, job in self.model.jobs.items()
        }

    @invariant()
    def published_is_what_one_attempt_committed(self) -> None:
        rows = self._query("SELECT name, published_job_id FROM datasets WHERE name = ANY(:names)")
        published = {row.name: row.published_job_id for row in rows}
        for dataset, job_id in self.model.published.items():
            assert published.get(self._name(dataset)) == job_id
        rows = self._query("SELECT job_id FROM dataset_versions WHERE dataset = ANY(:names)")
        assert {row.job_id for row in rows} == self.model.versions

    @invariant()
    def one_job_of_a_dataset_runs_at_a_time_and_none_too_often(self) -> None:
        running = [self.model.jobs[job_id].dataset for job_id in self.model.in_state("running")]
        assert len(running) == len(set(running))
        assert all(job.attempt <= ATTEMPTS_MAX for job in self.model.jobs.values())

    # --- how it is done

    def _name(self, dataset: str) -> str:
        return f"{dataset}{self.history}"

    def _holds(self, attempt: Attempt) -> bool:
        expected = self.model.jobs[attempt.job.id]
        return expected.state == "running" and expected.attempt == attempt.job.attempt

    def _postpone(self, attempt: Attempt) -> None:
        with self.engine.begin() as connection:
            assert jobs.postpone(connection, attempt.job, "code", "a sentence") == self._holds(attempt)
        if self._holds(attempt):
            self._goes_back(attempt.job.id)

    def _goes_back(self, job_id: UUID) -> None:
        self.model.jobs[job_id].goes_back()
        self._stop_the_clock(job_id)

    def _stop_the_clock(self, job_id: UUID) -> None:
        """Time passes by the rules for it only, however long a step takes on a busy machine."""
        self._execute(
            "UPDATE jobs SET due_at = due_at + interval '1 h', lease_expires_at = lease_expires_at + interval '1 h'"
            " WHERE id = :id AND state IN ('queued', 'running')",
            id=job_id,
        )

    def _give_up(self, attempt: Attempt) -> None:
        if attempt.transaction:
            attempt.transaction.invalidate()
            attempt.transaction.close()
        self.attempts = [other for other in self.attempts if other is not attempt]

    def _wait_for_the_end_of(self, attempt: Attempt) -> None:
        name = f"job {attempt.job.id} attempt {attempt.job.attempt}"
        query = "SELECT pid FROM pg_stat_activity WHERE application_name = :name"
        wait_until(lambda: not self._query(query, name=name), "the transaction is ended")

    def _execute(self, statement: str, **values: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.text(statement), values)

    def _query(self, statement: str, **values: Any) -> list[sa.Row[Any]]:
        names = [self._name(dataset) for dataset in DATASETS]
        with self.engine.connect() as connection:
            return list(connection.execute(sa.text(statement), {"names": names} | values))


@pytest.fixture
def roomy_engine(in_process: InProcess) -> Iterator[sa.Engine]:
    engine = database.engine(in_process.settings, pool_size=50)
    yield engine
    engine.dispose()


# With CI set, hypothesis is deterministic by itself; otherwise it remembers what failed.
@pytest.mark.timeout(600)
def test_whatever_happens_the_ledger_stays_true_and_one_attempt_publishes(roomy_engine: sa.Engine) -> None:
    class Here(Ledger):
        engine = roomy_engine

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=60,
            stateful_step_count=50,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
