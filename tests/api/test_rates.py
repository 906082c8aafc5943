"""MAX_REQUESTS_PER_MINUTE: one client that asks too often is told so, and nobody else is."""

from tests.api.conftest import ClientWith, problem


def test_who_asks_too_often_is_told_when_to_come_back(client_with: ClientWith) -> None:
    client = client_with(max_requests_per_minute=3)

    answers = [client.get("/api/v1/jobs") for _ in range(5)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    refused = answers[-1]
    problem(refused, 429, "too_many_requests")
    assert 1 <= int(refused.headers["Retry-After"]) <= 60


def test_another_client_and_health_have_nothing_to_do_with_it(client_with: ClientWith) -> None:
    client = client_with(max_requests_per_minute=1)
    for _ in range(3):
        client.get("/api/v1/jobs")

    assert client.get("/api/v1/jobs", environ_base={"REMOTE_ADDR": "192.0.2.1"}).status_code == 200
    assert [client.get("/healthz").status_code for _ in range(3)] == [200] * 3


def test_wrong_tokens_count(client_with: ClientWith) -> None:
    client = client_with(max_requests_per_minute=2, api_token="the-right-token-of-all")

    statuses = [client.get("/api/v1/jobs", headers={"Authorization": "Bearer x"}).status_code for _ in range(4)]

    assert statuses == [401, 401, 429, 429]


def test_without_the_setting_there_is_no_limit(client_with: ClientWith) -> None:
    client = client_with()

    assert {client.get("/api/v1/jobs").status_code for _ in range(300)} == {200}


def test_the_description_tells_of_it_where_it_is_set(client_with: ClientWith) -> None:
    for limit, codes in ((None, ["queue_full"]), (60, ["queue_full", "too_many_requests"])):
        document = client_with(max_requests_per_minute=limit).get("/openapi.json").get_json()
        refused = document["paths"]["/api/v1/jobs"]["post"]["responses"]["429"]["content"]["application/problem+json"]
        assert sorted(refused["schema"]["properties"]["code"]["enum"]) == codes
