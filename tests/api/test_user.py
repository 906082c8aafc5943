"""GET /api/v1/features/{user_id}"""

import uuid6
from flask.testing import FlaskClient

from tests.api.conftest import problem
from tests.conftest import InProcess

PATH = "/api/v1/features"


def test_a_user_is_shown_as_in_the_list(client: FlaskClient, in_process: InProcess) -> None:
    in_process.run()

    response = client.get(f"{PATH}/3")

    assert (response.status_code, response.mimetype) == (200, "application/json")
    assert response.get_json() == client.get(f"{PATH}?user_id=3").get_json()["items"][0]
    assert response.get_json()["total_experiments"] == 10


def test_a_user_of_a_kept_version_is_read_by_its_job(client: FlaskClient, in_process: InProcess) -> None:
    old = in_process.run()
    users = in_process.settings.data_dir / "users.csv"
    users.write_text(users.read_text().replace("Carol", "Caroline"))
    in_process.run()

    assert client.get(f"{PATH}/3").get_json()["name"] == "Caroline"
    assert client.get(f"{PATH}/3?job={old.id}").get_json()["name"] == "Carol"


def test_a_user_that_the_version_does_not_have_is_a_404(client: FlaskClient, in_process: InProcess) -> None:
    in_process.run()

    for user_id in ("99", "-1", str((1 << 63) - 1)):
        body = problem(client.get(f"{PATH}/{user_id}"), 404, "unknown_user")
        assert user_id in body["detail"]


def test_what_is_no_user_id_is_refused(client: FlaskClient, in_process: InProcess) -> None:
    in_process.run()

    for text in ("x", "1.0", str(1 << 63), "%D9%A1", "%00"):
        body = problem(client.get(f"{PATH}/{text}"), 422, "invalid_parameter")
        assert (body["parameter"], body["detail"]) == ("user_id", "user_id: a 64-bit whole number")


def test_a_user_of_what_is_not_published_is_a_404(client: FlaskClient) -> None:
    problem(client.get(f"{PATH}/1"), 404, "not_published")
    problem(client.get(f"{PATH}/1?dataset=absent"), 404, "not_published")
    problem(client.get(f"{PATH}/1?job={uuid6.uuid7()}"), 404, "unknown_version")


def test_an_unknown_parameter_is_refused(client: FlaskClient) -> None:
    assert problem(client.get(f"{PATH}/1?limit=1"), 422, "invalid_parameter")["parameter"] == "limit"
