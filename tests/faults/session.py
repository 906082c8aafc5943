"""The superuser's session: one psql in the container for all that a case asks, since each start takes its cores."""

import subprocess
from threading import Lock

_END = "-- end of the answer --"


class Unavailable(Exception):  # noqa: N818
    """Postgres, or its container, does not answer just now."""


class Session:
    """Opens again after it was lost. Any thread may ask; one at a time is answered."""

    def __init__(self, container: str) -> None:
        self._container = container
        self._psql: subprocess.Popen[str] | None = None
        self._one_at_a_time = Lock()

    def ask(self, *statements: str) -> str:
        """Return what psql prints. Raises Unavailable, also for a statement that Postgres refuses."""
        with self._one_at_a_time:
            psql = self._psql = self._psql or self._open()
            assert psql.stdin
            assert psql.stdout
            try:
                psql.stdin.write("".join(f"{statement}\n;\n" for statement in statements) + f"\\echo {_END}\n")
                psql.stdin.flush()
            except BrokenPipeError as error:
                raise Unavailable(self._lost()) from error
            answer: list[str] = []
            for line in psql.stdout:
                if line == f"{_END}\n":
                    return "".join(answer)
                answer.append(line)
            raise Unavailable(self._lost())

    def close(self) -> None:
        with self._one_at_a_time:
            if self._psql:
                self._psql.kill()
                self._lost()

    def _open(self) -> subprocess.Popen[str]:
        options = ["--username", "postgres", "-qAt", "-v", "ON_ERROR_STOP=1"]
        command = ["docker", "exec", "--interactive", self._container, "psql", *options]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    def _lost(self) -> str:
        """Clear away what has ended, and return why it did."""
        assert self._psql
        psql, self._psql = self._psql, None
        return psql.communicate()[1]
