"""A job as the API shows it."""

from datetime import datetime
from typing import Annotated, Any, NotRequired, cast
from uuid import UUID

from flask import url_for
from pydantic import Field
from typing_extensions import TypedDict

from api.answers import Count, NextCursor
from api.parameters import OneOf
from worker import jobs
from worker.jobs import Job as LedgerJob

_STAGES = ("queued", "compare", "extract", "validate", "derive", "load", "publish")


class Progress(TypedDict):
    """How far the present stage is."""

    done: Count
    total: Count
    unit: str


class FileAccount(TypedDict):
    """A file and what became of its lines: read = accepted + duplicate + rejected."""

    file: str
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    bytes: Count
    read: Count
    accepted: Count
    duplicate: Count
    rejected: Count
    codes: Annotated[dict[str, Count], Field(description="the number of rejections by code, those of items included")]
    dialect: Annotated[dict[str, Any], Field(description="how the file is written")]


class JobError(TypedDict):
    """Why a job failed."""

    code: str
    detail: str | None


class JobLinks(TypedDict):
    """Where the job's results are; `diff` only where it has made a version, `retry` once it has ended."""

    self: str
    cancel: NotRequired[str]
    retry: NotRequired[str]
    rejections: str
    diff: NotRequired[str]
    features: str
    publication: str


class Job(TypedDict):
    """A job as the ledger has it."""

    id: UUID
    dataset: str
    mode: Annotated[str, OneOf(jobs.MODES)]
    state: Annotated[str, OneOf(jobs.STATES)]
    outcome: Annotated[str | None, Field(description="of a success: published, unchanged, held or dry_run")]
    outcome_detail: str | None
    stage: str | None
    progress: Progress | None
    attempt: Count
    parent_id: UUID | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    timings_ms: dict[str, float]
    inputs: list[FileAccount]
    reconciled: bool | None
    error: JobError | None
    links: JobLinks


class Jobs(TypedDict):
    items: list[Job]
    next_cursor: NextCursor


def link(job: LedgerJob) -> str:
    return url_for("jobs.show", job_id=job.id)


def as_json(job: LedgerJob) -> Job:
    """A job as the API shows it, in the order in which a person reads it."""
    return {
        "id": job.id,
        "dataset": job.dataset,
        "mode": job.mode,
        "state": job.state,
        "outcome": job.outcome,
        "outcome_detail": job.outcome_detail,
        "stage": job.stage,
        "progress": _progress(job),
        "attempt": job.attempt,
        "parent_id": job.parent_id,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "timings_ms": {stage: job.timings_ms[stage] for stage in _STAGES if stage in job.timings_ms},
        "inputs": cast(list[FileAccount], job.inputs),
        "reconciled": job.reconciled,
        "error": {"code": job.error_code, "detail": job.error_detail} if job.error_code else None,
        "links": _links(job),
    }


def _progress(job: LedgerJob) -> Progress | None:
    done, total, unit = job.progress_done, job.progress_total, job.progress_unit
    return None if done is None or total is None or unit is None else {"done": done, "total": total, "unit": unit}


def _links(job: LedgerJob) -> JobLinks:
    # What is not published can be read by its job only.
    version = {"job": job.id} if job.outcome in ("held", "dry_run") else {"dataset": job.dataset}
    here = link(job)  # Flask takes longer to find a path than Postgres to find the job
    links = {
        "self": here,
        **({"retry": f"{here}/retry"} if job.is_final else {"cancel": f"{here}/cancel"}),
        "rejections": f"{here}/rejections",
        **({"diff": f"{here}/diff"} if job.has_version else {}),
        "features": url_for("features.rows", **version),
        "publication": url_for("publications.show", name=job.dataset),
    }
    return cast(JobLinks, links)
