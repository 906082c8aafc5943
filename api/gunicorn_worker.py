"""gunicorn's gevent worker, and an end to everything that it waits for: a request, its body, a reader, Postgres."""

import time
from typing import Any

import gevent
import psycopg2.extensions
from gevent.socket import SHUT_WR, socket, wait_read, wait_write
from gunicorn.http.errors import ParseException
from gunicorn.http.message import Request
from gunicorn.workers.ggevent import GeventWorker

from api import request_ids
from worker import logs
from worker.database import CONNECT_TIMEOUT_S

# From the connection, or the last answer on it, to the end of the headers.
HEAD_S = 5
# A body may take this long, and a second more for each of so many bytes.
BODY_S, BODY_BYTES_PER_S = 10, 16 << 10
# Each piece of an answer has to be read within this.
READER_S = 30
# So much of a body that nobody wanted is read, to keep the connection; where there is more the client gets some time to
# read the answer, and the connection is closed.
REST_BYTES, FAREWELL_S = 64 << 10, 1
# The longest statement of the API is the count of a diff's first page.
STATEMENT_S = 60


class Worker(GeventWorker):
    """Serves thousands of clients at once, of which most wait."""

    def init_process(self) -> None:
        psycopg2.extensions.set_wait_callback(await_postgres)
        super().init_process()

    def timeout_ctx(self) -> gevent.Timeout:  # type: ignore[override]
        return gevent.Timeout(HEAD_S, False)  # type: ignore[arg-type]

    def handle_request(self, listener_name: Any, req: Request, sock: socket, addr: Any) -> None:  # type: ignore[override] # its stubs say otherwise
        sock.settimeout(READER_S)
        req.unreader.sock = Body(sock)  # type: ignore[attr-defined]
        try:
            with logs.about(request_id=request_ids.assign(req.headers)):
                super().handle_request(listener_name, req, sock, addr)
            if _goes_on(req):
                sock.shutdown(SHUT_WR)
                gevent.sleep(FAREWELL_S)
                raise StopIteration  # gunicorn's way to close the connection
        except (TimeoutError, ParseException) as error:
            raise StopIteration from error  # neither a slow reader is an error of ours, nor a rest that is none
        finally:
            # The next request on this connection has a time of its own.
            req.unreader.sock = sock  # type: ignore[attr-defined]


def _goes_on(req: Request) -> bool:
    """Tell whether a body is far from its end. gunicorn would read whatever the client likes to send."""
    body: Any = req.body  # its stubs are older than it is
    return body is not None and not body.failed and len(body.read(REST_BYTES)) == REST_BYTES


class Body:
    """Reads a request's body from a socket that must not be slower than is allowed. Raises TimeoutError."""

    def __init__(self, sock: socket) -> None:
        self._sock = sock
        self._end = time.monotonic() + BODY_S

    def recv(self, size: int) -> bytes:
        gevent.sleep(0)  # a client that sends without a pause must not keep the others waiting
        reader_s = self._sock.gettimeout()
        self._sock.settimeout(max(self._end - time.monotonic(), 0.001))
        try:
            received: bytes = self._sock.recv(size)
        finally:
            self._sock.settimeout(reader_s)
        self._end += len(received) / BODY_BYTES_PER_S
        return received


def await_postgres(connection: psycopg2.extensions.connection) -> None:
    """Let other requests run until Postgres has answered. Raises OperationalError where it does not.

    The connection is closed then.
    """
    # The pool asks for a sign of life outside of a transaction: a server that hangs is known from that.
    asks_for_life = connection.autocommit or connection.status == psycopg2.extensions.STATUS_SETUP
    patience_s = CONNECT_TIMEOUT_S if asks_for_life else STATEMENT_S
    silent = psycopg2.OperationalError(f"no answer for {patience_s} s")
    while (state := connection.poll()) != psycopg2.extensions.POLL_OK:
        wait = wait_read if state == psycopg2.extensions.POLL_READ else wait_write
        wait(connection.fileno(), timeout=patience_s, timeout_exc=silent)
