"""Starts the service, in one container or in one for each role."""

from collections.abc import Mapping
from socket import socket

from tests.container.service import Container, Containers
from tests.faults.inputs import Inputs
from tests.faults.service import READER_PASSWORD, STATE, Service
from tests.servers import StrPath

ROLES = ("postgres", "redis", "api", "worker", "sweeper")


def free_port() -> int:
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def start_whole(containers: Containers, inputs: Inputs, *options: StrPath) -> Service:
    """Start everything in one container, whose ports stay when it is started again."""
    reader_port = free_port()
    container = containers.start(*_data(inputs), *_reader(reader_port), *options, port=free_port())
    return Service(dict.fromkeys(ROLES, container), inputs, reader_port)


def start_with_outside_redis(containers: Containers, inputs: Inputs) -> Service:
    """Start everything but Redis in a container, and beside it a Redis that writes all it is told to a file."""
    network, volume = containers.network(), containers.volume()
    options = ("--network", network, "--network-alias", "redis", "--volume", f"{volume}:{STATE}")
    keeping = f"--dir {STATE} --appendonly yes --appendfsync always --protected-mode no --bind 0.0.0.0"
    redis = containers.start(*options, "--entrypoint", "redis-server", command=keeping)
    service = start_whole(containers, inputs, "--network", network, "--env", "REDIS_URL=redis://redis:6379/0")
    service.parts = service.parts | {"redis": redis}
    return service


def start_roles(containers: Containers, inputs: Inputs, worker_options: Mapping[str, list[str]]) -> Service:
    """Start each role in a container of its own, and as many workers as there are keys, with the options of each."""
    reader_port, network, state = free_port(), containers.network(), containers.volume()
    shared = [
        *("--network", network, "--volume", f"{state}:{STATE}", *_data(inputs)),
        *("--env", "DATABASE_URL=postgresql://etl:secret@postgres:5432/experiment_etl"),
        *("--env", "REDIS_URL=redis://:secret@redis:6379/0"),
    ]

    def start(role: str, *options: StrPath, port: int | None = None) -> Container:
        return containers.start("--network-alias", role, *options, command=role, port=port)

    parts: dict[str, Container] = {
        "postgres": start("postgres", "--network", network, "--env", "POSTGRES_PASSWORD=secret", *_reader(reader_port)),
        "redis": start("redis", "--network", network, "--env", "REDIS_PASSWORD=secret"),
        "api": start("api", *shared, port=free_port()),
        "sweeper": start("sweeper", *shared),
    }
    for name, options in worker_options.items():
        parts[name] = containers.start(*shared, *options, command="worker")
    return Service(parts, inputs, reader_port)


def _data(inputs: Inputs) -> list[str]:
    return ["--volume", f"{inputs.directory}:/data:ro"]


def _reader(port: int) -> list[str]:
    return ["--env", f"READER_PASSWORD={READER_PASSWORD}", "--publish", f"127.0.0.1:{port}:5432"]
