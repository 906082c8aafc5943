"""When the page cannot show what it should: no token, no service, nothing there yet."""

import re
from uuid import uuid4

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visits
from tests.browser.service import Service, faulty

pytestmark = pytest.mark.browser


def test_the_token_is_asked_for_until_it_is_right_and_kept_in_the_tab(visit: Visits, service: Service) -> None:
    visit.expect("status of 401")
    job = service.publish("guarded")
    token = uuid4().hex
    with service.programs.api(API_TOKEN=token) as api:
        page = visit(url=api.url)
        field = page.get_by_label("Token", exact=True)
        expect(field).to_be_focused()
        field.fill("wrong")
        field.press("Enter")
        expect(page.get_by_role("alert")).to_have_text("This is not the token of this service.")
        page.get_by_label("Token", exact=True).fill(token)
        page.get_by_role("button", name="Continue").click()
        expect(page.get_by_role("heading", name="guarded")).to_be_visible()
        expect(page.locator(".job").first).to_be_visible()

        page.goto(f"{api.url}/#/features/guarded")
        page.reload()
        expect(page.get_by_role("link", name="Carol")).to_be_visible()
        # The file system's own dialog cannot be answered here.
        page.evaluate("delete window.showSaveFilePicker; delete Window.prototype.showSaveFilePicker")
        with page.expect_download() as downloading:
            page.get_by_role("link", name="Export as CSV").click()
        assert "Carol" in downloading.value.path().read_text()
        assert job["id"] in page.locator("main a[href*=jobs]").first.get_attribute("href")  # type: ignore[operator]

        page.get_by_role("button", name="Forget the token").click()
        expect(page.get_by_label("Token", exact=True)).to_be_focused()


def test_who_does_not_give_the_token_sees_what_is_missing(visit: Visits, service: Service) -> None:
    visit.expect("status of 401")
    with service.programs.api(API_TOKEN=uuid4().hex) as api:
        page = visit(url=api.url)
        page.get_by_role("button", name="Not now").click()
        expect(page.get_by_text("This service answers only with its token.").first).to_be_visible()
        page.get_by_role("button", name="Enter the token").first.click()
        expect(page.get_by_label("Token", exact=True)).to_be_focused()


def test_a_service_that_goes_away_is_told_and_the_page_recovers(visit: Visits, service: Service) -> None:
    visit.expect("ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_EMPTY_RESPONSE")
    service.publish("away")
    with service.programs.api() as api:
        page = visit(url=api.url)
        expect(page.get_by_role("heading", name="away")).to_be_visible()
    status = page.get_by_text("No answer from the service; trying again")
    expect(status).to_be_visible()
    page.get_by_role("button", name="Run a job on away").click()
    expect(page.get_by_role("alert")).to_contain_text("The service does not answer at the moment.")

    with service.programs.api(port=api.port):
        expect(status).to_be_hidden()
        job = service.run("away", force=True)
        row = page.locator(".job", has=page.get_by_text(job["id"][-8:]))
        expect(row).to_contain_text("Published")


def test_a_dataset_of_which_nothing_is_published_says_so(visit: Visits) -> None:
    visit.expect("status of 404")
    page = visit("#/features/absent")

    expect(page.get_by_text("Nothing is published of this dataset yet.")).to_be_visible()


def test_a_page_of_which_a_part_is_missing_says_so(visit: Visits, service: Service) -> None:
    visit.expect("ERR_FAILED")
    page = visit("#/elsewhere")
    page.route("**/format.js", lambda route: route.abort())
    page.goto(f"{service.url}/")

    expect(page.get_by_text("The page could not be loaded as a whole; load it again.")).to_be_visible()


def test_an_internal_error_says_where_the_log_has_it(visit: Visits, service: Service) -> None:
    visit.expect("status of 500")
    job = service.publish("broken", faulty())
    with service.rejections_broken():
        page = visit(f"#/jobs/{job['id']}")

        expect(page.get_by_role("alert")).to_contain_text(
            re.compile(r"the log has it under this request_id: [0-9a-f-]{8,}\.")
        )


def test_a_place_that_does_not_exist_is_told(visit: Visits) -> None:
    page = visit("#/elsewhere")

    expect(page.get_by_role("heading", name="There is no such page")).to_be_visible()
    page.get_by_role("link", name="To the overview").click()
    expect(page.get_by_role("heading", name="Datasets")).to_be_visible()


def test_the_page_works_where_there_is_no_stream(visit: Visits, service: Service) -> None:
    """Something between may hold back what is sent in pieces: then the list is asked for instead."""
    visit.expect("status of 404")
    service.publish("polled")
    page = visit("#/elsewhere")
    page.route("**/api/v1/jobs/events", lambda route: route.fulfill(status=404, json={"code": "x", "detail": "x"}))
    page.goto(f"{service.url}/#/")
    page.reload()
    job = service.run("polled", force=True)

    expect(page.locator(".job", has=page.get_by_text(job["id"][-8:]))).to_contain_text(re.compile("Published"))


def test_a_place_that_cannot_be_read_does_not_exist(visit: Visits) -> None:
    page = visit("#/features/100%")

    expect(page.get_by_role("heading", name="There is no such page")).to_be_visible()
