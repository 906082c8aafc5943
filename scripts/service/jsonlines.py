"""Every line of the service's log is a JSON object, whichever program wrote it.

Run as a program it is the first process of a container that plays one role: it starts the role's command,
hands signals on, reaps orphans, and ends with the command's status once its last line is written. Under
supervisord the plug-in `guard` does the same with `JsonLines`.
"""

import contextlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable

MAX_LINE_BYTES = 1 << 20


def entry(program: str, message: str, level: str | None = None) -> str:
    """One line of the log, without its newline."""
    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now * 1000) % 1000:03d}Z"
    fields = {"time": stamp, "level": level, "program": program, "message": message}
    return json.dumps({name: value for name, value in fields.items() if value is not None})


class JsonLines:
    """Cuts one program's output into lines and writes each as JSON; lines that are JSON objects pass as they are."""

    def __init__(self, program: str, write: Callable[[str], object]) -> None:
        self._program = program
        self._write = write
        self._rest = b""

    def feed(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._line(line)
        if len(self._rest) > MAX_LINE_BYTES:
            self.end()

    def end(self) -> None:
        """Writes what came without a newline."""
        rest, self._rest = self._rest, b""
        self._line(rest)

    def _line(self, line: bytes) -> None:
        text = line.decode(errors="backslashreplace").rstrip()
        if text:
            self._write(text if _is_json_object(text) else entry(self._program, text))


def _is_json_object(text: str) -> bool:
    if not text.startswith("{"):
        return False
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _write_line(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def run(program: str, stop_signal: signal.Signals, command: list[str]) -> int:
    """Runs the command to its end; returns its exit status, 128 + n when signal n ended it."""
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)

    output, writing = os.pipe()
    pid = os.posix_spawnp(
        command[0],
        command,
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, writing, 1), (os.POSIX_SPAWN_DUP2, writing, 2)],
        setsigmask=[],
        # What is ignored here would be ignored there: the first by Python, the others by a shell's `&`.
        setsigdef=[signal.SIGPIPE, signal.SIGINT, signal.SIGQUIT],
    )
    os.close(writing)

    # SIGTERM is what `docker stop` sends to every container; to Postgres and Celery it means "when your
    # clients have gone" and "when your jobs are done".
    _hand_on(signal.SIGTERM, pid, stop_signal)
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        _hand_on(number, pid, number)
    # The image's entry point blocks them until now, when they are handled.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT})

    lines = JsonLines(program, _write_line)
    sources = {woken, output}
    status: int | None = None
    while status is None:
        ready, _, _ = select.select(sources, [], [])
        if output in ready:
            data = os.read(output, 1 << 16)
            lines.feed(data)
            if not data:
                sources.remove(output)
        if woken in ready:
            os.read(woken, 1 << 12)
            status = _reap(pid)

    # What is in the pipe by now is the command's; waiting for its end could mean waiting for an orphan.
    os.set_blocking(output, False)
    with contextlib.suppress(BlockingIOError):
        while data := os.read(output, 1 << 16):
            lines.feed(data)
    lines.end()
    return status


def _hand_on(received: signal.Signals, pid: int, sent: signal.Signals) -> None:
    def handler(*_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sent)

    signal.signal(received, handler)


def _reap(wanted: int) -> int | None:
    """Reaps all children that have ended; returns the exit status of the wanted one if it was among them."""
    status = None
    while True:
        try:
            pid, wait_status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status
        if pid == 0:
            return status
        if pid == wanted:
            code = os.waitstatus_to_exitcode(wait_status)
            status = code if code >= 0 else 128 - code


if __name__ == "__main__":
    _program, _stop_signal, *_command = sys.argv[1:]
    sys.exit(run(_program, signal.Signals[f"SIG{_stop_signal}"], _command))
