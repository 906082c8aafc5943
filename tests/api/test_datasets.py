"""GET /api/v1/datasets"""

import os
import shutil

from flask.testing import FlaskClient

from tests.api.conftest import FORM_TYPE, form, problem
from tests.conftest import SAMPLE, InProcess
from worker.settings import Settings

PATH = "/api/v1/datasets"


def _names(client: FlaskClient) -> list[str]:
    return [item["name"] for item in client.get(PATH).get_json()["items"]]


def test_before_the_first_job_the_datasets_that_have_files_are_there(client: FlaskClient, settings: Settings) -> None:
    shutil.copytree(SAMPLE, settings.data_dir / "mounted")
    (settings.data_dir / "empty").mkdir()
    shutil.copytree(SAMPLE, settings.data_dir / "No-Name")
    (settings.data_dir / "link").symlink_to(SAMPLE)
    uploaded = [(path.name, path.read_bytes()) for path in SAMPLE.glob("*.csv")]
    assert client.put(f"{PATH}/lab", data=form(*uploaded), content_type=FORM_TYPE).status_code == 201

    files = [
        {"file": name, "bytes": (SAMPLE / name).stat().st_size}
        for name in ("users.csv", "compounds.csv", "user_experiments.csv")
    ]
    assert client.get(PATH).get_json() == {
        "items": [
            {"name": name, "published_job_id": None, "published_at": None, "files": files, "is_mounted": name != "lab"}
            for name in ("default", "lab", "mounted")
        ],
        "next_cursor": None,
    }


def test_a_compressed_file_has_its_contracts_name_and_its_own_size(client: FlaskClient, settings: Settings) -> None:
    (settings.data_dir / "users.csv").unlink()
    (settings.data_dir / "users.csv.gz").write_bytes(b"12345")

    [dataset] = client.get(PATH).get_json()["items"]

    assert dataset["files"][0] == {"file": "users.csv", "bytes": 5}


def test_what_is_no_file_is_not_listed_and_not_followed(client: FlaskClient, settings: Settings) -> None:
    (settings.data_dir / "users.csv").unlink()
    (settings.data_dir / "users.csv").symlink_to("/etc/passwd")
    (settings.data_dir / "compounds.csv").unlink()
    os.mkfifo(settings.data_dir / "compounds.csv")

    [dataset] = client.get(PATH).get_json()["items"]

    assert [file["file"] for file in dataset["files"]] == ["user_experiments.csv"]


def test_a_name_that_data_dir_takes_is_mounted_whatever_is_there(client: FlaskClient, in_process: InProcess) -> None:
    in_process.submit(dataset="taken")
    (in_process.settings.data_dir / "taken").mkdir()

    dataset = client.get(PATH).get_json()["items"][1]

    assert (dataset["name"], dataset["files"], dataset["is_mounted"]) == ("taken", [], True)
    response = client.put(f"{PATH}/taken", data=form(("users.csv", b"")), content_type=FORM_TYPE)
    assert response.status_code == 409


def test_without_files_and_jobs_there_are_no_datasets(client: FlaskClient, settings: Settings) -> None:
    shutil.rmtree(settings.data_dir)
    assert _names(client) == []
    settings.data_dir.mkdir()
    assert _names(client) == []


def test_a_dataset_whose_files_are_gone_is_still_listed(client: FlaskClient, in_process: InProcess) -> None:
    in_process.run()
    shutil.rmtree(in_process.settings.data_dir)

    assert _names(client) == ["default"]


def test_a_dataset_shows_what_is_published_of_it(client: FlaskClient, in_process: InProcess) -> None:
    job = in_process.run()
    in_process.submit(dataset="waiting")
    [version] = in_process.query("SELECT computed_at FROM dataset_versions")

    items = client.get(PATH).get_json()["items"]
    assert [(item["name"], item["published_job_id"], item["published_at"]) for item in items] == [
        ("default", str(job.id), version["computed_at"].isoformat()),
        ("waiting", None, None),
    ]


def test_the_pages_together_are_the_list_by_name(client: FlaskClient, in_process: InProcess) -> None:
    for name in ("c", "a", "e", "b", "d"):
        in_process.submit(dataset=name)

    pages = [client.get(f"{PATH}?limit=2").get_json()]
    while pages[-1]["next_cursor"]:
        pages.append(client.get(PATH, query_string={"limit": 2, "cursor": pages[-1]["next_cursor"]}).get_json())

    names = [[item["name"] for item in page["items"]] for page in pages]
    assert names == [["a", "b"], ["c", "d"], ["default", "e"]]


def test_a_cursor_that_is_none_is_refused(client: FlaskClient) -> None:
    for text in ("%ff", "x", "AA"):  # the last one is that of a NUL
        assert problem(client.get(f"{PATH}?cursor={text}"), 422, "invalid_parameter")["parameter"] == "cursor"


def test_an_unknown_parameter_is_refused(client: FlaskClient) -> None:
    assert problem(client.get(f"{PATH}?name=x"), 422, "invalid_parameter")["parameter"] == "name"
