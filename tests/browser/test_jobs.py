"""A job's page: what was rejected and why, what differs, and what can be done with it."""

import re

import pytest
from playwright.sync_api import Route, expect

from tests.browser.conftest import Visits
from tests.browser.service import Service, faulty, sample

pytestmark = pytest.mark.browser


def _losing(*, left: int) -> dict[str, bytes]:
    """The sample with so many users."""
    lines = [line for line in sample()["users.csv"].splitlines(keepends=True) if line.strip()]
    return sample(users=b"".join(lines[: 1 + left]))


def test_rejections_are_shown_with_the_value_and_can_be_filtered(visit: Visits, service: Service) -> None:
    job = service.publish("faulty", faulty())
    page = visit(f"#/jobs/{job['id']}")
    rows = page.get_by_role("region", name="Rejected lines and items").locator("tbody tr")

    expect(rows).to_have_count(4)
    expect(rows.filter(has_text="out_of_range").locator("mark")).to_have_text("-1")
    expect(page.get_by_role("region", name="Files")).to_contain_text("comma-separated; UTF-8")

    page.get_by_label("Code").select_option("unknown_user")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("no accepted line of users.csv has this id")
    assert "code=unknown_user" in page.url
    page.go_back()
    expect(rows).to_have_count(4)
    page.get_by_label("File", exact=True).select_option("users.csv")
    expect(rows).to_have_count(1)
    expect(rows.locator("mark")).to_have_text("x")


def test_a_job_that_fails_says_why_and_can_be_retried(visit: Visits, service: Service) -> None:
    service.upload("failing", faulty())
    job = service.run("failing", max_rejected_ratio=0)
    page = visit(f"#/jobs/{job['id']}")

    expect(page.locator(".callout.bad")).to_contain_text("too many rejections")
    page.get_by_role("button", name=re.compile("Retry")).click()
    page.get_by_role("link", name="Show the new job").click()
    expect(page.locator(".facts")).to_contain_text(f"Retry of{job['id'][-8:]}")
    expect(page.locator("h2")).to_contain_text("Failed")


def test_a_job_is_seen_live_and_cancelled(visit: Visits, service: Service) -> None:
    service.upload("cancelled", sample())
    page = visit()
    with service.publication_held_up():
        page.get_by_role("button", name="Run a job on cancelled").click()
        row = page.locator(".job", has=page.get_by_role("link", name="cancelled", exact=True))
        expect(row).to_contain_text("Publishing")
        row.get_by_role("button", name=re.compile("Cancel job")).click()
        expect(row.get_by_text("Cancelled", exact=True)).to_be_visible()

    expect(row.get_by_role("button", name=re.compile("Retry job"))).to_be_visible()
    assert service.ask("GET", "/api/v1/jobs?dataset=cancelled")["items"][0]["state"] == "cancelled"


def test_an_answer_that_is_late_does_not_bring_a_job_back(visit: Visits, service: Service) -> None:
    service.upload("late", sample())
    page = visit("#/elsewhere")
    held: list[Route] = []
    page.route("**/api/v1/jobs?limit=20", lambda route: held.append(route))
    with service.publication_held_up():
        job = service.ask("POST", "/api/v1/jobs", {"dataset": "late"})
        old = service.ask("GET", "/api/v1/jobs?limit=20")
        page.get_by_role("link", name="To the overview").click()
        row = page.locator(".job", has=page.get_by_role("link", name="late", exact=True))
        expect(row).to_contain_text("Publishing")
    expect(row).to_contain_text("Published")

    # What is taken in after it shows that it was.
    mark = {**old["items"][0], "id": "f" * len(job["id"]), "dataset": "mark"}
    held[0].fulfill(json={**old, "items": [*old["items"], mark]})
    expect(page.get_by_role("link", name="mark", exact=True)).to_be_visible()
    expect(row).to_contain_text("Published")


def test_jobs_that_ended_long_ago_are_forgotten(visit: Visits, service: Service) -> None:
    """A page may stay open for weeks."""
    job = service.publish("forgotten")
    page = visit("#/elsewhere")
    items = [{**job, "id": f"{0xFFFF0000 + n:08x}{job['id'][8:]}", "dataset": f"later-{n}"} for n in range(500)]
    page.route("**/api/v1/jobs?limit=20", lambda route: route.fulfill(json={"items": items, "next_cursor": None}))
    page.get_by_role("link", name="To the overview").click()
    expect(page.get_by_role("link", name="later-499", exact=True)).to_be_visible()
    expect(page.locator(".job")).to_have_count(20)

    live = page.evaluate("performance.getEntriesByType('resource').find((e) => e.name.endsWith('/live.js')).name")
    assert page.evaluate("async (live) => (await import(live)).newest().length", live) == 200


def test_what_differs_is_shown_and_rolled_back_after_a_question(visit: Visits, service: Service) -> None:
    first = service.publish("rolled")
    second = service.publish("rolled", _losing(left=12))
    page = visit(f"#/jobs/{second['id']}")
    expect(page.get_by_text("2 removed")).to_be_visible()
    expect(page.get_by_text("This version is what readers of rolled see.")).to_be_visible()

    page.goto(f"{service.url}/#/jobs/{first['id']}")
    expect(page.get_by_text("2 added")).to_be_visible()
    page.get_by_role("button", name="Roll back to this version").click()
    page.get_by_role("button", name="Leave it as it is").click()
    assert service.ask("GET", "/api/v1/datasets/rolled/publication")["job_id"] == second["id"]

    page.get_by_role("button", name="Roll back to this version").click()
    page.get_by_role("button", name="Roll back", exact=True).click()
    expect(page.get_by_text("This version is what readers of rolled see.")).to_be_visible()
    assert service.ask("GET", "/api/v1/datasets/rolled/publication")["job_id"] == first["id"]


def test_a_held_version_is_released(visit: Visits, service: Service) -> None:
    service.publish("held")
    service.upload("held", _losing(left=3))
    job = service.run("held", max_rejected_ratio=1)
    page = visit(f"#/jobs/{job['id']}")

    expect(page.locator("h2")).to_contain_text("Held")
    page.get_by_role("button", name="Release this version").click()
    page.get_by_role("button", name="Release", exact=True).click()
    expect(page.get_by_text("This version is what readers of held see.")).to_be_visible()


def test_who_has_not_seen_what_is_published_changes_nothing(visit: Visits, service: Service) -> None:
    visit.expect("status of 412")
    jobs = [service.publish("raced", _losing(left=left)) for left in (14, 13, 12)]
    page = visit(f"#/jobs/{jobs[0]['id']}")
    page.get_by_role("button", name="Roll back to this version").click()
    service.ask("PUT", "/api/v1/datasets/raced/publication", {"job_id": jobs[1]["id"]})
    page.get_by_role("button", name="Roll back", exact=True).click()

    expect(page.get_by_role("alert")).to_contain_text("Somebody else published another version")
    assert service.ask("GET", "/api/v1/datasets/raced/publication")["job_id"] == jobs[1]["id"]


def test_what_the_service_logged_about_the_job_is_shown(visit: Visits, service: Service) -> None:
    job = service.publish("logged")
    page = visit(f"#/jobs/{job['id']}")

    expect(page.locator(".log")).to_contain_text("published logged in")


def test_a_job_that_is_not_there_is_told(visit: Visits) -> None:
    visit.expect("status of 404")
    page = visit("#/jobs/nonsense")

    expect(page.get_by_role("alert")).to_contain_text("There is no job with this id.")
