"""The checks see what they are there for: every invariant is broken on purpose."""

import time
from uuid import uuid4

import pytest

from tests.faults import invariants
from tests.faults.case import Case
from tests.faults.watch import HEALTH_WAIT_MAX_S

pytestmark = pytest.mark.faults

DAMAGE = {
    "I3, I4": "UPDATE user_feature_versions SET name = 'Somebody' WHERE user_id = 1",
    "I5": f"CREATE TABLE user_feature_versions_{uuid4().hex} ()",
    "I6": "CREATE UNLOGGED TABLE datasets_in_a_hurry ()",
    "I7": "UPDATE jobs SET outcome = 'dry_run' WHERE outcome = 'published'",
}


def test_every_invariant_can_break(case: Case) -> None:
    service = case.start()
    assert not invariants.breaches(service)
    watch = case.watch
    assert watch
    watch.states.look()  # it does so every two seconds: the damage must not be there before

    service.signal("STOP", "worker")
    service.post_until_accepted()  # I2: nobody will take it
    service.accepted.append(str(uuid4()))  # I1
    for statement in DAMAGE.values():
        service.psql("SET search_path TO public", statement)
    service.signal("STOP", "api")  # I8
    time.sleep(HEALTH_WAIT_MAX_S + 2)
    service.signal("CONT", "api")
    case.close()

    found, case.result.broken = [*case.result.broken, *invariants.breaches(service)], []
    assert {breach.split()[0] for breach in found} == {f"I{number}" for number in range(1, 9)}, found


def test_every_kind_of_leftover_is_seen(case: Case) -> None:
    service = case.start()
    container = service.parts["postgres"]
    sleeping = "CREATE TEMPORARY TABLE mine (); SELECT pg_advisory_lock(1); BEGIN; SELECT 1;"
    container.execute(f"(echo '{sleeping}'; sleep 300) | psql --quiet >/dev/null 2>&1 & disown")
    container.execute("mkdir -p $STATE_DIR/spill && touch $STATE_DIR/spill/left")
    container.execute("cd $STATE_DIR/postgres/*/base && mkdir -p pgsql_tmp && touch pgsql_tmp/pgsql_tmp1.0")
    database = "SELECT oid FROM pg_database WHERE datname = current_database()"
    container.execute(f"cd $STATE_DIR/postgres/*/base/$(psql -Atc '{database}') && touch 999999")
    service.psql("CREATE TABLE staging ()")

    found = invariants.breaches(service)

    kinds = {breach.split(":")[0] for breach in found}
    assert kinds == {
        "I5 a temporary table",
        "I5 an idle transaction",
        "I5 an advisory lock",
        "I5 a relation's file without the relation",
        "I5 a table that was not there at the start",
        "I5 a temporary file",
    }, found
    assert sum(breach.startswith("I5 a temporary file") for breach in found) == 2
