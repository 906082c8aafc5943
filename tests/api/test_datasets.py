"""GET /api/v1/datasets"""

from flask.testing import FlaskClient

from tests.api.conftest import problem
from tests.conftest import InProcess

PATH = "/api/v1/datasets"


def test_before_the_first_job_there_are_no_datasets(client: FlaskClient) -> None:
    assert client.get(PATH).get_json() == {"items": [], "next_cursor": None}


def test_a_dataset_shows_what_is_published_of_it(client: FlaskClient, in_process: InProcess) -> None:
    job = in_process.run()
    in_process.submit(dataset="waiting")
    [version] = in_process.query("SELECT computed_at FROM dataset_versions")

    assert client.get(PATH).get_json()["items"] == [
        {"name": "default", "published_job_id": str(job.id), "published_at": version["computed_at"].isoformat()},
        {"name": "waiting", "published_job_id": None, "published_at": None},
    ]


def test_the_pages_together_are_the_list_by_name(client: FlaskClient, in_process: InProcess) -> None:
    for name in ("c", "a", "e", "b", "d"):
        in_process.submit(dataset=name)

    pages = [client.get(f"{PATH}?limit=2").get_json()]
    while pages[-1]["next_cursor"]:
        pages.append(client.get(PATH, query_string={"limit": 2, "cursor": pages[-1]["next_cursor"]}).get_json())

    names = [[item["name"] for item in page["items"]] for page in pages]
    assert names == [["a", "b"], ["c", "d"], ["e"]]


def test_a_cursor_that_is_none_is_refused(client: FlaskClient) -> None:
    for text in ("%ff", "x", "AA"):  # the last one is that of a NUL
        assert problem(client.get(f"{PATH}?cursor={text}"), 422, "invalid_parameter")["parameter"] == "cursor"


def test_an_unknown_parameter_is_refused(client: FlaskClient) -> None:
    assert problem(client.get(f"{PATH}?name=x"), 422, "invalid_parameter")["parameter"] == "name"
