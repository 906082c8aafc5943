"""A file changes while it is read: the job fails with input_changed, or publishes all of the old or all of the new."""

import os
from collections.abc import Callable

import pytest

from tests.faults.case import Case
from tests.faults.inputs import EXPERIMENTS, Inputs, slow_to_read

pytestmark = pytest.mark.faults


def _append(inputs: Inputs) -> None:
    with (inputs.directory / EXPERIMENTS).open("ab") as file:
        file.write(inputs.content("appended")[len(inputs.content("old")) :])


def _replace(inputs: Inputs) -> None:
    inputs.use("replaced")


def _truncate(inputs: Inputs) -> None:
    os.truncate(inputs.directory / EXPERIMENTS, len(inputs.content("truncated")))


@pytest.mark.parametrize("change", [_append, _replace, _truncate], ids=["appended to", "replaced", "truncated"])
def test_a_file_is_changed_while_it_is_read(change: Callable[[Inputs], None], case: Case) -> None:
    inputs = case.inputs(slow_to_read)
    service = case.start(inputs)
    for _ in range(case.times(short=2, long=4)):
        inputs.use("old")
        job = service.post_until_accepted()
        service.wait_for_stage(job, "extract")

        change(inputs)

        case.recover()
        ended = service.job(job)
        assert ended["state"] == "succeeded" or ended["error"]["code"] == "input_changed", ended
    case.check()
