"""The ledger: what each transition does, and what it refuses."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import Any, TypeVar
from uuid import UUID

import pytest
import sqlalchemy as sa
import uuid6

from tests.conftest import InProcess, request
from tests.servers import wait_until
from worker import jobs
from worker.jobs import AlreadyFinished, IdempotencyConflict, Job, LeaseLost, QueueFull, UnknownJob

Value = TypeVar("Value")

EXPIRE = "UPDATE jobs SET lease_expires_at = now() - interval '1 second' WHERE id = :id"
MAKE_DUE = "UPDATE jobs SET due_at = now() WHERE id = :id"


def _row(in_process: InProcess, job: Job) -> dict[str, Any]:
    """The whole row, with the columns that Job leaves out."""
    [row] = in_process.query("SELECT * FROM jobs WHERE id = :id", id=job.id)
    return row


def _take_back(in_process: InProcess) -> list[UUID]:
    with in_process.engine.begin() as connection:
        return jobs.take_back_lost(connection)


def _lose(in_process: InProcess, job: Job) -> None:
    """Let the job's lease expire and the ledger notice, and let it be due again."""
    in_process.execute(EXPIRE, id=job.id)
    _take_back(in_process)
    in_process.execute(MAKE_DUE, id=job.id)


def _waiting(in_process: InProcess, *, limit: int = 100, unrung_s: float = 0) -> list[UUID]:
    with in_process.engine.begin() as connection:
        return jobs.waiting(connection, limit=limit, unrung_s=unrung_s)


def _while_another_commits(
    engine: sa.Engine, first: Callable[[sa.Connection], object], second: Callable[[sa.Connection], Value]
) -> Value:
    """Do `second` while `first` is done and not committed; commit `first` only when `second` waits for it."""

    def do_second() -> Value:
        with engine.begin() as connection:
            return second(connection)

    with ThreadPoolExecutor() as threads, engine.connect() as connection:
        first(connection)
        future: Future[Value] = threads.submit(do_second)
        wait_until(lambda: future.done() or _waits_for_a_lock(engine), "the second one waits for the first")
        assert not future.done(), "the second one did not wait for the first"
        connection.commit()
        return future.result(timeout=30)


def _waits_for_a_lock(engine: sa.Engine) -> bool:
    with engine.connect() as connection:
        return bool(connection.scalar(sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")))


# --- submit


def test_a_new_job_is_queued_with_what_was_asked(in_process: InProcess) -> None:
    wanted = request(dataset="second", mode="dry_run", force=True, max_rejected_ratio=0.5)

    with in_process.engine.begin() as connection:
        job, is_new = jobs.submit(connection, wanted, max_queued_jobs=1)

    assert is_new
    assert (job.state, job.attempt, job.outcome, job.started_at, job.finished_at) == ("queued", 0, None, None, None)
    assert job.request == wanted
    assert in_process.job(job) == job


def test_ids_are_uuids_of_version_7_and_ascend(in_process: InProcess) -> None:
    ids = [in_process.submit().id for _ in range(5)]

    assert {job_id.version for job_id in ids} == {7}
    assert ids == sorted(ids)


def test_a_job_knows_its_parent(in_process: InProcess) -> None:
    parent = in_process.submit()

    with in_process.engine.begin() as connection:
        child, _ = jobs.submit(connection, request(), max_queued_jobs=10, parent_id=parent.id)

    assert in_process.job(child).parent_id == parent.id


def test_a_full_queue_takes_no_further_job(in_process: InProcess) -> None:
    in_process.submit(max_queued_jobs=2)
    in_process.submit(max_queued_jobs=2)

    with pytest.raises(QueueFull):
        in_process.submit(max_queued_jobs=2, dataset="third")

    assert len(in_process.query("SELECT id FROM jobs")) == 2
    assert in_process.query("SELECT name FROM datasets") == [{"name": "default"}]


def test_only_queued_jobs_fill_the_queue(in_process: InProcess) -> None:
    in_process.claim(in_process.submit(max_queued_jobs=1))

    in_process.submit(max_queued_jobs=1)


def test_a_job_is_submitted_while_its_dataset_is_being_published(in_process: InProcess) -> None:
    """Publication holds the dataset's row until it commits; a worker that hangs then must not hold up who submits."""
    published = in_process.run()
    with in_process.engine.connect() as publishing:
        update = "UPDATE datasets SET published_job_id = :id WHERE name = 'default'"
        publishing.execute(sa.text(update), {"id": published.id})

        with in_process.engine.begin() as connection:
            connection.execute(sa.text("SET LOCAL statement_timeout = '10s'"))
            jobs.submit(connection, request(), max_queued_jobs=1000)


def test_the_same_key_and_request_bring_back_the_same_job(in_process: InProcess) -> None:
    first = in_process.submit(idempotency_key="k")

    with in_process.engine.begin() as connection:
        second, is_new = jobs.submit(connection, request(), max_queued_jobs=10, idempotency_key="k")

    assert not is_new
    assert second == first
    assert len(in_process.query("SELECT id FROM jobs")) == 1


def test_a_key_brings_back_its_job_also_when_that_is_finished(in_process: InProcess) -> None:
    job = in_process.run(idempotency_key="k")

    assert job.state == "succeeded"
    assert in_process.submit(idempotency_key="k") == job


def test_a_key_brings_back_its_job_also_when_the_queue_is_full(in_process: InProcess) -> None:
    job = in_process.submit(idempotency_key="k", max_queued_jobs=1)

    assert in_process.submit(idempotency_key="k", max_queued_jobs=1) == job


@pytest.mark.parametrize(
    "other", [{"force": True}, {"dataset": "second"}, {"mode": "dry_run"}, {"max_rejected_ratio": 0.2}]
)
def test_a_key_cannot_be_used_for_another_request(in_process: InProcess, other: dict[str, Any]) -> None:
    in_process.submit(idempotency_key="k")

    with pytest.raises(IdempotencyConflict):
        in_process.submit(idempotency_key="k", **other)

    assert len(in_process.query("SELECT id FROM jobs")) == 1


def test_without_a_key_the_same_request_is_another_job(in_process: InProcess) -> None:
    assert in_process.submit().id != in_process.submit().id


def test_two_submits_with_one_key_at_the_same_moment_make_one_job(in_process: InProcess) -> None:
    def submit(connection: sa.Connection) -> tuple[Job, bool]:
        return jobs.submit(connection, request(), max_queued_jobs=10, idempotency_key="k")

    in_process.submit(dataset="second")  # so that the dataset's row is not what they wait for
    in_process.submit()
    job, is_new = _while_another_commits(in_process.engine, submit, submit)

    assert not is_new
    assert in_process.query("SELECT id FROM jobs WHERE idempotency_key = 'k'") == [{"id": job.id}]


# --- get, newest


def test_an_unknown_id_is_no_job(in_process: InProcess) -> None:
    with in_process.engine.connect() as connection, pytest.raises(UnknownJob):
        jobs.get(connection, uuid6.uuid7())


def _newest(in_process: InProcess, **conditions: Any) -> list[UUID]:
    with in_process.engine.connect() as connection:
        return [job.id for job in jobs.newest(connection, **({"limit": 100} | conditions))]


def test_the_newest_jobs_come_first(in_process: InProcess) -> None:
    submitted = [in_process.submit().id for _ in range(3)]

    assert _newest(in_process) == submitted[::-1]


def test_pages_hold_each_job_once_also_where_all_are_of_the_same_moment(in_process: InProcess) -> None:
    with in_process.engine.begin() as connection:
        submitted = [jobs.submit(connection, request(), max_queued_jobs=10)[0] for _ in range(5)]
    assert len({job.created_at for job in submitted}) == 1

    pages = [_newest(in_process, limit=2)]
    while pages[-1]:
        pages.append(_newest(in_process, limit=2, after=pages[-1][-1]))

    assert [len(page) for page in pages] == [2, 2, 1, 0]
    assert [job_id for page in pages for job_id in page] == [job.id for job in submitted][::-1]


def test_a_page_stays_where_it_was_when_a_job_comes_in(in_process: InProcess) -> None:
    old, middle, new = (in_process.submit().id for _ in range(3))
    assert _newest(in_process, limit=1) == [new]

    in_process.submit()

    assert _newest(in_process, after=new) == [middle, old]


def test_jobs_are_found_by_state_and_dataset(in_process: InProcess) -> None:
    queued, other = in_process.submit(), in_process.submit(dataset="second")
    running = in_process.claim(in_process.submit(dataset="second"))

    assert _newest(in_process, state="running") == [running.id]
    assert _newest(in_process, dataset="second") == [running.id, other.id]
    assert _newest(in_process, dataset="second", state="queued") == [other.id]
    assert _newest(in_process, dataset="default") == [queued.id]
    assert _newest(in_process, dataset="third") == []


def test_there_is_no_page_after_an_unknown_job(in_process: InProcess) -> None:
    with pytest.raises(UnknownJob):
        _newest(in_process, after=uuid6.uuid7())


# --- claim


def test_a_claimed_job_runs_under_a_lease(in_process: InProcess) -> None:
    submitted = in_process.submit()

    with in_process.engine.begin() as connection:
        job = jobs.claim(connection, submitted.id, "w1")
        lease_s = connection.scalar(
            sa.text("SELECT extract(epoch FROM lease_expires_at - now()) FROM jobs WHERE id = :id"),
            {"id": submitted.id},
        )

    assert job
    assert (job.state, job.attempt) == ("running", 1)
    assert job.started_at
    assert job.started_at >= submitted.created_at
    assert list(job.timings_ms) == ["queued"]
    assert lease_s == jobs.LEASE_S
    assert _row(in_process, job)["worker"] == "w1"


def test_a_job_is_claimed_once(in_process: InProcess) -> None:
    job = in_process.submit()
    in_process.claim(job)
    before = _row(in_process, job)

    with in_process.engine.begin() as connection:
        assert jobs.claim(connection, job.id, "another") is None

    assert _row(in_process, job) == before


@pytest.mark.parametrize("state", ["running", "succeeded", "failed", "cancelled"])
def test_only_a_queued_job_is_claimed(in_process: InProcess, state: str) -> None:
    """In each other state, with nothing else about the row that would forbid it."""
    job = in_process.submit()
    _put_into(in_process, job, state)
    in_process.execute("UPDATE jobs SET attempt = 0 WHERE id = :id", id=job.id)

    with in_process.engine.begin() as connection:
        assert jobs.claim(connection, job.id, "w") is None
        # An answer, not a constraint's refusal: the transaction goes on.
        assert jobs.get(connection, job.id).state == state


def test_a_job_that_nobody_knows_is_not_claimed(in_process: InProcess) -> None:
    with in_process.engine.begin() as connection:
        assert jobs.claim(connection, uuid6.uuid7(), "w") is None


def test_a_job_is_not_claimed_before_it_is_due(in_process: InProcess) -> None:
    job = in_process.submit()
    in_process.execute("UPDATE jobs SET due_at = now() + interval '1 hour' WHERE id = :id", id=job.id)

    with in_process.engine.begin() as connection:
        assert jobs.claim(connection, job.id, "w") is None

    in_process.execute(MAKE_DUE, id=job.id)
    in_process.claim(job)


def test_a_job_whose_attempts_are_used_up_is_not_claimed(in_process: InProcess) -> None:
    job = in_process.submit()
    in_process.execute("UPDATE jobs SET attempt = :attempt WHERE id = :id", attempt=jobs.ATTEMPTS_MAX, id=job.id)

    with in_process.engine.begin() as connection:
        assert jobs.claim(connection, job.id, "w") is None
        assert jobs.get(connection, job.id).state == "queued"  # an answer, not a constraint's refusal


def test_a_job_waits_while_another_of_its_dataset_runs(in_process: InProcess) -> None:
    first, second, other = in_process.submit(), in_process.submit(), in_process.submit(dataset="second")
    running = in_process.claim(first)

    with in_process.engine.begin() as connection:
        assert jobs.claim(connection, second.id, "w2") is None
        # The transaction goes on: the refusal was an answer, not an error of the database.
        assert connection.scalar(sa.text("SELECT attempt FROM jobs WHERE id = :id"), {"id": second.id}) == 0

    in_process.claim(other)
    with in_process.engine.begin() as connection:
        jobs.succeed(connection, running, "published", [], {})
    in_process.claim(second)


def test_two_workers_that_claim_one_job_at_the_same_moment_get_it_once(in_process: InProcess) -> None:
    job = in_process.submit()

    second = _while_another_commits(
        in_process.engine,
        lambda connection: jobs.claim(connection, job.id, "w1"),
        lambda connection: jobs.claim(connection, job.id, "w2"),
    )

    assert second is None
    assert _row(in_process, job)["worker"] == "w1"


def test_two_jobs_of_one_dataset_claimed_at_the_same_moment_do_not_both_run(in_process: InProcess) -> None:
    first, second = in_process.submit(), in_process.submit()

    claimed = _while_another_commits(
        in_process.engine,
        lambda connection: jobs.claim(connection, first.id, "w1"),
        lambda connection: jobs.claim(connection, second.id, "w2"),
    )

    assert claimed is None
    assert (in_process.job(first).state, in_process.job(second).state) == ("running", "queued")


# --- renew and the fence


def test_a_lease_is_renewed_with_stage_and_progress(in_process: InProcess) -> None:
    job = in_process.claim(in_process.submit())
    in_process.execute(EXPIRE, id=job.id)

    with in_process.engine.begin() as connection:
        assert jobs.renew(connection, job, "extract", (3, 10, "bytes"))

    assert _take_back(in_process) == []
    shown = in_process.job(job)
    assert (shown.stage, shown.progress_done, shown.progress_total, shown.progress_unit) == ("extract", 3, 10, "bytes")


@pytest.mark.parametrize("end", ["succeed", "fail", "postpone", "cancel"])
def test_a_job_that_nobody_is_at_has_neither_stage_nor_progress(end: str, in_process: InProcess) -> None:
    job = in_process.claim(in_process.submit())
    with in_process.engine.begin() as connection:
        jobs.renew(connection, job, "extract", (3, 10, "bytes"))

    with in_process.engine.begin() as connection:
        (_transitions(job) | {"cancel": lambda connection: jobs.cancel(connection, job.id)})[end](connection)

    shown = in_process.job(job)
    assert (shown.stage, shown.progress_done, shown.progress_total, shown.progress_unit) == (None, None, None, None)


def _transitions(job: Job) -> dict[str, Callable[[sa.Connection], object]]:
    """What an attempt can do with its job."""
    return {
        "renew": lambda connection: jobs.renew(connection, job, "load", None),
        "succeed": lambda connection: jobs.succeed(connection, job, "published", [], {"load": 1.0}),
        "fail": lambda connection: jobs.fail(connection, job, "some_code", "a sentence", {}),
        "postpone": lambda connection: jobs.postpone(connection, job, "unavailable", "a sentence"),
    }


@pytest.mark.parametrize("name", ["renew", "succeed", "fail", "postpone"])
def test_an_attempt_that_lost_the_job_changes_nothing_any_more(in_process: InProcess, name: str) -> None:
    old = in_process.claim(in_process.submit(), "w1")
    _lose(in_process, old)
    new = in_process.claim(old, "w2")
    before = _row(in_process, new)

    _refused(in_process, old, name)

    assert new.attempt == 2
    assert _row(in_process, new) == before


@pytest.mark.parametrize("name", ["renew", "succeed", "fail", "postpone"])
def test_an_attempt_whose_job_waits_again_changes_nothing_any_more(in_process: InProcess, name: str) -> None:
    """The attempt's number is still the row's: only the state tells that the job was taken away."""
    old = in_process.claim(in_process.submit())
    _lose(in_process, old)
    before = _row(in_process, old)

    _refused(in_process, old, name)

    assert before["attempt"] == old.attempt
    assert _row(in_process, old) == before


def _refused(in_process: InProcess, job: Job, name: str) -> None:
    transition = _transitions(job)[name]
    with in_process.engine.begin() as connection:
        if name == "succeed":
            with pytest.raises(LeaseLost):
                transition(connection)
        else:
            assert transition(connection) is False


# --- the ends


def test_a_success_has_its_outcome_account_and_timings(in_process: InProcess) -> None:
    job = in_process.claim(in_process.submit())

    with in_process.engine.begin() as connection:
        jobs.succeed(connection, job, "published", [{"file": "users.csv", "read": 3}], {"load": 1.5})

    done = in_process.job(job)
    assert (done.state, done.outcome, done.reconciled, done.stage) == ("succeeded", "published", True, None)
    assert done.inputs == [{"file": "users.csv", "read": 3}]
    assert done.timings_ms == job.timings_ms | {"load": 1.5}
    assert done.started_at
    assert done.finished_at
    assert done.finished_at >= done.started_at
    assert done.error_code is None


def test_a_failure_has_its_code_and_sentence(in_process: InProcess) -> None:
    job = in_process.claim(in_process.submit())

    with in_process.engine.begin() as connection:
        assert jobs.fail(connection, job, "missing_file", "users.csv is not there", {"extract": 2.0})

    done = in_process.job(job)
    assert (done.state, done.outcome) == ("failed", None)
    assert (done.error_code, done.error_detail) == ("missing_file", "users.csv is not there")
    assert done.timings_ms["extract"] == 2.0
    assert done.finished_at


def test_a_postponed_job_is_due_after_one_second_and_then_after_two(in_process: InProcess) -> None:
    submitted, waits = in_process.submit(), []
    for _ in range(2):
        job = in_process.claim(submitted)
        with in_process.engine.begin() as connection:
            assert jobs.postpone(connection, job, "unavailable", "Postgres was away")
            waits.append(
                connection.scalar(
                    sa.text("SELECT extract(epoch FROM due_at - now()) FROM jobs WHERE id = :id"), {"id": job.id}
                )
            )
        assert in_process.job(job).state == "queued"
        in_process.execute(MAKE_DUE, id=job.id)

    assert waits == [1, 2]


def test_a_job_that_waits_again_shows_no_error(in_process: InProcess) -> None:
    job = in_process.claim(in_process.submit())

    with in_process.engine.begin() as connection:
        jobs.postpone(connection, job, "unavailable", "Postgres was away")

    waiting = in_process.job(job)
    assert (waiting.state, waiting.error_code, waiting.error_detail, waiting.finished_at) == (
        "queued",
        None,
        None,
        None,
    )


def test_the_third_postponed_attempt_was_the_last(in_process: InProcess) -> None:
    job = in_process.submit()
    for _ in range(3):
        job = in_process.claim(job)
        with in_process.engine.begin() as connection:
            jobs.postpone(connection, job, "unavailable", "Postgres was away")
        in_process.execute(MAKE_DUE, id=job.id)

    done = in_process.job(job)
    assert (done.state, done.attempt, done.error_code) == ("failed", 3, "unavailable")
    assert done.error_detail == "Postgres was away (attempt 3, the last)"
    assert done.finished_at


def test_a_worker_releases_what_it_was_running_and_nothing_else(in_process: InProcess) -> None:
    mine = in_process.claim(in_process.submit(), "w1")
    other = in_process.claim(in_process.submit(dataset="second"), "w2")

    with in_process.engine.begin() as connection:
        assert jobs.release(connection, "w1") == [mine.id]

    assert (in_process.job(mine).state, in_process.job(other).state) == ("queued", "running")


def test_a_worker_that_finished_its_job_has_nothing_to_release(in_process: InProcess) -> None:
    job = in_process.claim(in_process.submit(), "w1")
    with in_process.engine.begin() as connection:
        jobs.succeed(connection, job, "published", [], {})

    with in_process.engine.begin() as connection:
        assert jobs.release(connection, "w1") == []

    assert in_process.job(job).state == "succeeded"


def test_an_expired_lease_is_taken_back_and_a_live_one_is_not(in_process: InProcess) -> None:
    lost = in_process.claim(in_process.submit())
    live = in_process.claim(in_process.submit(dataset="second"))
    in_process.execute(EXPIRE, id=lost.id)

    assert _take_back(in_process) == [lost.id]

    assert (in_process.job(lost).state, in_process.job(live).state) == ("queued", "running")
    assert _take_back(in_process) == []


def test_a_job_that_lost_three_workers_has_failed(in_process: InProcess) -> None:
    job = in_process.submit()
    for _ in range(3):
        job = in_process.claim(job)
        _lose(in_process, job)

    done = in_process.job(job)
    assert (done.state, done.attempt, done.error_code) == ("failed", 3, "worker_lost")
    assert done.error_detail == "the worker stopped responding (attempt 3, the last)"


def test_the_job_that_failed_for_good_is_not_among_those_that_wait_again(in_process: InProcess) -> None:
    job = in_process.submit()
    in_process.execute("UPDATE jobs SET attempt = 2 WHERE id = :id", id=job.id)
    in_process.claim(job)
    in_process.execute(EXPIRE, id=job.id)

    assert _take_back(in_process) == []
    assert in_process.job(job).state == "failed"


def _put_into(in_process: InProcess, submitted: Job, state: str) -> Job:
    """Bring a queued job into the state by the ledger's own ways."""
    job = in_process.claim(submitted, "w1")
    with in_process.engine.begin() as connection:
        if state == "succeeded":
            jobs.succeed(connection, job, "published", [], {})
        elif state == "failed":
            jobs.fail(connection, job, "some_code", "a sentence", {})
        elif state == "cancelled":
            jobs.cancel(connection, job.id)
    assert in_process.job(job).state == state
    return job


@pytest.mark.parametrize("state", sorted(jobs.FINAL_STATES))
def test_a_finished_job_never_changes(in_process: InProcess, state: str) -> None:
    job = _put_into(in_process, in_process.submit(), state)
    before = _row(in_process, job)

    for name in _transitions(job):
        _refused(in_process, job, name)
    with in_process.engine.begin() as connection:
        assert jobs.claim(connection, job.id, "w1") is None
        assert jobs.release(connection, "w1") == []
        assert jobs.take_back_lost(connection) == []
        assert jobs.end_overdue(connection, 0) == []
        with pytest.raises(AlreadyFinished, match=state):
            jobs.cancel(connection, job.id)
        assert jobs.waiting(connection, limit=10, unrung_s=0) == []
        assert jobs.next_of(connection, job.dataset) is None

    assert in_process.job(job).is_final
    assert _row(in_process, job) == before


# --- who is next


def test_the_oldest_waiting_jobs_are_rung_first(in_process: InProcess) -> None:
    submitted = [in_process.submit(dataset=name).id for name in ("a", "b", "c")]

    assert _waiting(in_process, limit=2) == submitted[:2]


def test_a_job_counts_as_rung_when_it_is_submitted_and_when_it_is_found_waiting(in_process: InProcess) -> None:
    job = in_process.submit()
    assert _waiting(in_process, unrung_s=60) == []

    in_process.execute("UPDATE jobs SET rung_at = now() - interval '61 seconds'")

    assert _waiting(in_process, unrung_s=60) == [job.id]
    assert _waiting(in_process, unrung_s=60) == []


def test_a_job_that_was_put_back_is_found_waiting_at_once_when_it_is_due(in_process: InProcess) -> None:
    job = in_process.claim(in_process.submit())
    in_process.execute(EXPIRE, id=job.id)
    _take_back(in_process)

    assert _waiting(in_process, unrung_s=60) == []  # due in a second
    in_process.execute(MAKE_DUE, id=job.id)

    assert _waiting(in_process, unrung_s=60) == [job.id]


def test_nothing_is_found_waiting_behind_a_running_job_of_its_dataset(in_process: InProcess) -> None:
    in_process.claim(in_process.submit())
    in_process.submit()
    other = in_process.submit(dataset="second")

    assert _waiting(in_process) == [other.id]


def test_the_next_job_of_a_dataset_is_its_oldest_that_is_due(in_process: InProcess) -> None:
    in_process.submit(dataset="second")
    later, first, _ = (in_process.submit() for _ in range(3))
    in_process.execute("UPDATE jobs SET due_at = now() + interval '1 hour' WHERE id = :id", id=later.id)

    with in_process.engine.connect() as connection:
        assert jobs.next_of(connection, "default") == first.id
        assert jobs.next_of(connection, "third") is None


# --- what the schema refuses, whoever writes


CONTRADICTIONS = [
    "state = 'unheard_of'",
    "outcome = 'published'",
    "state = 'running'",
    "state = 'succeeded', finished_at = now()",
    "state = 'failed', finished_at = now()",
    "error_code = 'x'",
    "finished_at = now()",
    "lease_expires_at = now()",
    "attempt = 4",
    "mode = 'unheard_of'",
    "max_rejected_ratio = 1.1",
]


def test_a_row_that_contradicts_itself_is_refused(in_process: InProcess) -> None:
    job = in_process.submit()
    for contradiction in CONTRADICTIONS:
        statement = " ".join(("UPDATE jobs SET", contradiction, "WHERE id = :id"))
        with pytest.raises(sa.exc.IntegrityError, match="check constraint"):
            in_process.execute(statement, id=job.id)


def test_the_three_attempts_of_the_code_are_those_of_the_schema(in_process: InProcess) -> None:
    job = in_process.submit()
    set_attempt = "UPDATE jobs SET attempt = :attempt WHERE id = :id"

    in_process.execute(set_attempt, attempt=jobs.ATTEMPTS_MAX, id=job.id)
    with pytest.raises(sa.exc.IntegrityError, match="jobs_attempt"):
        in_process.execute(set_attempt, attempt=jobs.ATTEMPTS_MAX + 1, id=job.id)


def test_the_states_of_the_code_are_those_of_the_schema(in_process: InProcess) -> None:
    [constraint] = in_process.query(
        "SELECT pg_get_constraintdef(oid) AS text FROM pg_constraint WHERE conname = 'jobs_state'"
    )

    positions = [constraint["text"].find(f"'{state}'") for state in jobs.STATES]

    assert all(left < right for left, right in pairwise([0, *positions]))
    assert constraint["text"].count("'") == 2 * len(jobs.STATES)
