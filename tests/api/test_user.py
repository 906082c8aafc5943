"""GET /api/v1/features/{user_id}"""

import shutil

import pytest
import uuid6
from flask.testing import FlaskClient

from api import features
from tests.api.conftest import problem
from tests.conftest import InProcess
from tests.etl.conftest import write
from worker import explanations

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


# --- explain


def test_a_user_is_explained_by_the_lines_behind_each_number(client: FlaskClient, in_process: InProcess) -> None:
    data = in_process.settings.data_dir
    write(
        data,
        users="user_id,name,email,signup_date\n\n9,Zoe,z,2024-01-01\n7,Ann,a,2024-01-01\n07,Ann,a,2024-01-01\n",
        compounds='compound_id,compound_name,compound_structure\n1,"Wa\nter",\n2,Salt,\n-3,Iron,\n',
        user_experiments="experiment_id,user_id,experiment_compound_ids,experiment_run_time\n"
        "1,7,1;+02,1\n"  # line 2
        "2,7,2; 1,long\n"  # rejected
        "3,9,1,1\n"
        "4,+7,12;-3,2\n"  # line 5; 12 is unknown
        "1,7,1;+02,1.0\n"  # a duplicate of line 2
        "1,7,1,5\n"  # the key of line 2, other content
        "5,7,002;2;-3,3\n"  # line 8
        "6,7,12,4\n",  # line 9
    )
    in_process.run(max_rejected_ratio=1)

    body = client.get(f"{PATH}/7?explain=true").get_json()

    assert body["total_experiments"] == 4
    assert (body["most_common_compound_id"], body["most_common_compound_ids"]) == (-3, [-3, 2])
    explanation = body["explanation"]
    assert list(explanation) == [
        name for name in body if name not in ("dataset", "job_id", "computed_at", "explanation")
    ]
    assert explanation["name"] == [{"file": "users.csv", "count": 1, "lines": [4]}]
    experiments = [{"file": "user_experiments.csv", "count": 4, "lines": [2, 5, 8, 9]}]
    for name in ("total_experiments", "average_run_time", "experiment_share"):
        assert explanation[name] == experiments
    assert explanation["most_common_compound_uses"] == [
        {"file": "user_experiments.csv", "count": 2, "lines": [5, 8]},
        {"file": "compounds.csv", "count": 1, "lines": [5]},
    ]
    assert explanation["most_common_compound_ids"] == [
        {"file": "user_experiments.csv", "count": 3, "lines": [2, 5, 8]},
        {"file": "compounds.csv", "count": 2, "lines": [4, 5]},
    ]


def test_a_user_of_the_sample_is_explained_by_as_many_lines_as_it_has_experiments(
    client: FlaskClient, in_process: InProcess
) -> None:
    in_process.run()
    rows = client.get(PATH).get_json()["items"]
    [nobody, *_] = [row for row in rows if not row["total_experiments"]]

    for row in (rows[0], rows[2], nobody):
        explanation = client.get(f"{PATH}/{row['user_id']}?explain=true").get_json()["explanation"]

        assert explanation["total_experiments"][0]["count"] == row["total_experiments"]
        assert [of["count"] for of in explanation["most_common_compound_uses"][:1]] == (
            [row["most_common_compound_uses"]] if row["most_common_compound_uses"] else []
        )


@pytest.mark.parametrize("empty", ["compounds", "user_experiments"])
def test_a_user_is_explained_where_a_file_has_nothing_but_a_header(
    empty: str, client: FlaskClient, in_process: InProcess
) -> None:
    path = in_process.settings.data_dir / f"{empty}.csv"
    write(in_process.settings.data_dir)
    path.write_text(path.read_text().splitlines()[0])
    in_process.run()

    body = client.get(f"{PATH}/1?explain=true").get_json()

    assert body["explanation"]["name"] == [{"file": "users.csv", "count": 1, "lines": [2]}]
    assert body["explanation"]["most_common_compound_uses"] == []
    assert body["explanation"]["total_experiments"][0]["count"] == body["total_experiments"]


def test_a_line_that_repeats_a_refused_one_is_no_evidence(client: FlaskClient, in_process: InProcess) -> None:
    header = "experiment_id,user_id,experiment_compound_ids,experiment_run_time\n"
    lines = ["1,1,1,1", "1,2,1,1", "1,2,1,1", "2,2,1,long", "2,2,1,2"]  # the third is a duplicate of a duplicate_key
    write(
        in_process.settings.data_dir,
        users="user_id,name,email,signup_date\n1,Ann,a,2024-01-01\n2,Bob,b,2024-01-01\n",
        user_experiments=header + "\n".join(lines) + "\n",
    )
    in_process.run(max_rejected_ratio=1.0)

    body = client.get(f"{PATH}/2?explain=true").get_json()

    assert body["total_experiments"] == 1
    assert body["explanation"]["total_experiments"] == [{"file": "user_experiments.csv", "count": 1, "lines": [6]}]


def test_of_two_lines_with_one_key_the_first_is_evidence_however_its_list_is_written(
    client: FlaskClient, in_process: InProcess
) -> None:
    """A list with `01` is looked at apart from those that are plain numbers."""
    write(
        in_process.settings.data_dir,
        user_experiments="experiment_id,user_id,experiment_compound_ids,experiment_run_time\n"
        "1,1,01,1.5\n1,1,1,1.5\n2,1,1,1.5\n",
    )
    in_process.run(max_rejected_ratio=1)

    explained = client.get(f"{PATH}/1?explain=true").get_json()

    [told] = explained["explanation"]["total_experiments"]
    assert (explained["total_experiments"], told["lines"]) == (2, [2, 4])


def test_ids_in_lists_are_found_however_they_are_written(client: FlaskClient, in_process: InProcess) -> None:
    ids = ";".join(str(id_) for id_ in range(10, 60_000))
    header = "experiment_id,user_id,experiment_compound_ids,experiment_run_time\n"
    lines = ['1,1,"2;\n1",1\n', '2,1,"1 ;\r\n 1",1\n', '3,1,"1\v;2",1\n', "4,1,-0;21;12,1\n", f"5,1,{ids},1\n"]
    compounds = "".join(f"{id_},c,\n" for id_ in [0, 1, 2, *range(30, 60_000)])
    write(
        in_process.settings.data_dir,
        compounds="compound_id,compound_name,compound_structure\n" + compounds,
        user_experiments=header + "".join(lines),
    )
    in_process.run()

    body = client.get(f"{PATH}/1?explain=true").get_json()

    assert (body["most_common_compound_ids"], body["most_common_compound_uses"]) == ([1, 2], 2)
    experiments, compounds_behind = body["explanation"]["most_common_compound_uses"]
    assert experiments == {"file": "user_experiments.csv", "count": 2, "lines": [2, 4]}
    assert compounds_behind["lines"] == [3]
    assert body["explanation"]["most_common_compound_ids"][0]["lines"] == [2, 4, 6]


def test_a_user_with_very_many_compounds_that_tie_is_explained(client: FlaskClient, in_process: InProcess) -> None:
    ids = range(100_000)
    write(
        in_process.settings.data_dir,
        compounds="compound_id,compound_name,compound_structure\n" + "".join(f"{id_},c,\n" for id_ in ids),
        user_experiments="experiment_id,user_id,experiment_compound_ids,experiment_run_time\n"
        f"1,1,{';'.join(map(str, ids))},1\n",
    )
    in_process.run()

    tied = client.get(f"{PATH}/1?explain=true").get_json()["explanation"]["most_common_compound_ids"]

    assert [named["count"] for named in tied] == [1, 100_000]


def test_an_explanation_that_fails_is_in_the_log(
    client: FlaskClient, in_process: InProcess, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    in_process.run()
    monkeypatch.setattr(explanations, "_ROOT", in_process.settings.data_dir)

    problem(client.get(f"{PATH}/3?explain=true"), 500, "internal_error")

    assert "etl.explain ended with 1" in caplog.text
    assert "No module named" in caplog.text


def test_many_lines_are_counted_and_the_first_of_them_are_named(client: FlaskClient, in_process: InProcess) -> None:
    header = "experiment_id,user_id,experiment_compound_ids,experiment_run_time\n"
    lines = "".join(f"{n},1,1,1\n" for n in range(1, 2501))
    (in_process.settings.data_dir / "user_experiments.csv").write_text(header + lines)
    in_process.run()

    [named] = client.get(f"{PATH}/1?explain=true").get_json()["explanation"]["total_experiments"]

    assert (named["count"], named["lines"]) == (2500, list(range(2, 1002)))


@pytest.mark.parametrize("change", ["append", "remove", "break", "remove all"])
def test_files_that_are_not_those_that_were_read_explain_nothing(
    change: str, client: FlaskClient, in_process: InProcess
) -> None:
    shutil.copytree(in_process.settings.data_dir, in_process.settings.data_dir / "other")
    in_process.run(dataset="other")
    path = in_process.settings.data_dir / "other" / "compounds.csv"
    match change:
        case "append":
            path.write_text(path.read_text() + "\n99,Gold,Au")
        case "remove":
            path.unlink()
        case "break":
            path.write_text('"')
        case "remove all":
            shutil.rmtree(path.parent)

    body = problem(client.get(f"{PATH}/3?dataset=other&explain=true"), 409, "input_changed")

    assert ("other" if change == "remove all" else "compounds.csv") in body["detail"]
    assert client.get(f"{PATH}/3?dataset=other").status_code == 200


def test_an_older_version_is_explained_as_long_as_its_files_are_there(
    client: FlaskClient, in_process: InProcess
) -> None:
    old = in_process.run()
    in_process.run(force=True)
    assert "explanation" in client.get(f"{PATH}/3?job={old.id}&explain=true").get_json()

    users = in_process.settings.data_dir / "users.csv"
    users.write_text(users.read_text().replace("Carol", "Caroline"))
    new = in_process.run()

    problem(client.get(f"{PATH}/3?job={old.id}&explain=true"), 409, "input_changed")
    assert "explanation" in client.get(f"{PATH}/3?job={new.id}&explain=true").get_json()


def test_one_explanation_is_looked_for_at_a_time(client: FlaskClient, in_process: InProcess) -> None:
    in_process.run()
    with features._explaining:
        response = client.get(f"{PATH}/3?explain=true")

    problem(response, 503, "explanation_unavailable")
    assert response.headers["Retry-After"] == "2"


def test_an_explanation_that_takes_too_long_is_given_up(
    client: FlaskClient, in_process: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_process.run()
    monkeypatch.setattr(explanations, "PATIENCE_S", 0.01)

    problem(client.get(f"{PATH}/3?explain=true"), 503, "explanation_unavailable")
    monkeypatch.undo()
    assert client.get(f"{PATH}/3?explain=true").status_code == 200


def test_explain_is_true_or_false(client: FlaskClient, in_process: InProcess) -> None:
    in_process.run()

    assert "explanation" not in client.get(f"{PATH}/3?explain=false").get_json()
    problem(client.get(f"{PATH}/3?explain=yes"), 422, "invalid_parameter")
