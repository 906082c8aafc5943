"""GET /api/v1/jobs"""

from typing import Any

import uuid6
from flask.testing import FlaskClient

from tests.api.conftest import problem
from tests.conftest import InProcess
from worker import jobs

PATH = "/api/v1/jobs"


def _ids(page: dict[str, Any]) -> list[str]:
    return [job["id"] for job in page["items"]]


def test_without_jobs_the_list_is_empty(client: FlaskClient) -> None:
    assert client.get(PATH).get_json() == {"items": [], "next_cursor": None}


def test_the_newest_job_comes_first_as_it_is_shown_by_itself(client: FlaskClient, in_process: InProcess) -> None:
    older, newer = in_process.run(), in_process.submit()

    page = client.get(PATH).get_json()

    assert page["items"] == [client.get(f"{PATH}/{job.id}").get_json() for job in (newer, older)]
    assert page["next_cursor"] is None


def test_the_pages_together_are_the_list(client: FlaskClient, in_process: InProcess) -> None:
    submitted = [str(in_process.submit().id) for _ in range(5)]

    pages = [client.get(f"{PATH}?limit=2").get_json()]
    while pages[-1]["next_cursor"]:
        pages.append(client.get(PATH, query_string={"limit": 2, "cursor": pages[-1]["next_cursor"]}).get_json())

    assert [_ids(page) for page in pages] == [submitted[4:2:-1], submitted[2:0:-1], submitted[:1]]


def test_a_list_that_ends_with_a_full_page_has_no_further_one(client: FlaskClient, in_process: InProcess) -> None:
    in_process.submit()
    in_process.submit()

    assert client.get(f"{PATH}?limit=2").get_json()["next_cursor"] is None


def test_a_page_stays_where_it_was_when_a_job_comes_in(client: FlaskClient, in_process: InProcess) -> None:
    submitted = [str(in_process.submit().id) for _ in range(3)]
    cursor = client.get(f"{PATH}?limit=1").get_json()["next_cursor"]
    in_process.submit()

    assert _ids(client.get(f"{PATH}?cursor={cursor}").get_json()) == submitted[1::-1]


def test_jobs_are_found_by_state_and_dataset(client: FlaskClient, in_process: InProcess) -> None:
    queued, other = in_process.submit(), in_process.submit(dataset="second")
    running = in_process.claim(in_process.submit(dataset="second"))

    assert _ids(client.get(f"{PATH}?state=running").get_json()) == [str(running.id)]
    assert _ids(client.get(f"{PATH}?dataset=default").get_json()) == [str(queued.id)]
    assert _ids(client.get(f"{PATH}?dataset=second&state=queued").get_json()) == [str(other.id)]
    assert _ids(client.get(f"{PATH}?dataset=third").get_json()) == []


def test_a_search_goes_on_over_its_pages(client: FlaskClient, in_process: InProcess) -> None:
    wanted = [str(in_process.submit(dataset="second").id) for _ in range(2)]
    in_process.submit()

    first = client.get(f"{PATH}?dataset=second&limit=1").get_json()
    second = client.get(f"{PATH}?dataset=second&limit=1&cursor={first['next_cursor']}").get_json()

    assert _ids(first) + _ids(second) == wanted[::-1]


def test_every_state_can_be_asked_for_and_no_other(client: FlaskClient) -> None:
    for state in jobs.STATES:
        assert client.get(f"{PATH}?state={state}").status_code == 200

    body = problem(client.get(f"{PATH}?state=pending"), 422, "invalid_parameter")
    assert body["detail"] == "state: one of queued, running, succeeded, failed, cancelled"


def test_a_limit_that_is_none_is_refused(client: FlaskClient) -> None:
    for text in ("", "0", "-1", "1001", "many", "1.5", "9" * 500, "%D9%A1"):
        body = problem(client.get(f"{PATH}?limit={text}"), 422, "invalid_parameter")
        assert (body["parameter"], body["detail"]) == ("limit", "limit: a whole number from 1 to 1000")
    for text in ("1", "1000"):
        assert client.get(f"{PATH}?limit={text}").status_code == 200


def test_a_cursor_that_is_none_is_refused(client: FlaskClient) -> None:
    for text in ("", "x", "%00", str(uuid6.uuid7())):
        body = problem(client.get(f"{PATH}?cursor={text}"), 422, "invalid_parameter")
        assert body["parameter"] == "cursor"


def test_an_unknown_parameter_is_named_with_those_that_exist(client: FlaskClient) -> None:
    body = problem(client.get(f"{PATH}?page=2"), 422, "invalid_parameter")

    assert body["detail"] == "page: there is no such parameter; allowed are cursor, dataset, limit, state"


def test_what_is_no_name_of_a_dataset_is_refused(client: FlaskClient) -> None:
    """An empty one is not the same as none."""
    for name in ("", "..", "A", "x" * 64, "a%0A"):
        body = problem(client.get(f"{PATH}?dataset={name}"), 422, "invalid_parameter")
        assert body["detail"].startswith("dataset: a dataset's name: 1 to 63 of a-z")


def test_a_dataset_with_a_nul_in_its_name_is_refused_or_has_no_jobs(client: FlaskClient) -> None:
    """No text of Postgres has one, so the driver must not come to see it."""
    assert client.get(f"{PATH}?dataset=a%00b").status_code == 422
