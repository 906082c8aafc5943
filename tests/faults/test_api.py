"""The API is killed."""

import pytest

from tests.faults.case import Case

pytestmark = pytest.mark.faults


def test_the_api_is_killed_while_jobs_are_posted(case: Case) -> None:
    service = case.start()
    for number in range(case.times(short=3, long=10)):
        with service.flow(per_second=5):
            case.wait_for_a_moment(number)
            case.api_goes_down()
            service.signal("KILL", "api")
        case.recover()
    case.check()
