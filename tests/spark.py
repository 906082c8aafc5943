"""A real Spark cluster: a master, two workers and a Connect server, each a process of this machine."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.servers import StrPath, running, wait_until

_WORKER = "org.apache.spark.deploy.worker.Worker"
_SERVER = "org.apache.spark.sql.connect.service.SparkConnectServer"
# What is quick where there are few rows.
_FEW_ROWS = {
    "spark.sql.shuffle.partitions": "2",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
}


@dataclass
class Cluster:
    """`venv` has PySpark; everything that the processes write is in `directory`."""

    venv: Path
    directory: Path
    cores: int = 2
    memory: str = "1g"
    workers: list["subprocess.Popen[bytes]"] = field(default_factory=list)
    server: "subprocess.Popen[bytes]" = field(init=False)

    def __post_init__(self) -> None:
        self._stack = ExitStack()
        self._master, self._port = _free_port(), _free_port()

    @property
    def remote(self) -> str:
        return f"sc://127.0.0.1:{self._port}"

    @contextmanager
    def run(self, settings: Mapping[str, str], *, workers: int = 2) -> Iterator["Cluster"]:
        with self._stack:
            master = f"spark://127.0.0.1:{self._master}"
            self._start("master", "org.apache.spark.deploy.master.Master", "--port", str(self._master))
            wait_until(lambda: _listens(self._master), "Spark's master listens")
            for _ in range(workers):
                self.add_worker()
            options = {
                "spark.connect.grpc.binding.port": str(self._port),
                "spark.executor.memory": self.memory,
                "spark.ui.enabled": "false",
            }
            conf = [part for name, value in {**options, **settings}.items() for part in ("--conf", f"{name}={value}")]
            submit = ["--class", _SERVER, "--master", master, "--driver-memory", "1g", *conf, "spark-internal"]
            self.server = self._start("connect", "org.apache.spark.deploy.SparkSubmit", *submit, address=False)
            wait_until(lambda: _listens(self._port), "Spark Connect listens", seconds=120)
            yield self

    def add_worker(self) -> None:
        number = len(self.workers)
        options = ["--cores", str(self.cores), "--memory", "2g", "--work-dir", str(self.directory / f"work{number}")]
        self.workers.append(self._start(f"worker{number}", _WORKER, *options, f"spark://127.0.0.1:{self._master}"))

    def kill_worker(self) -> None:
        """Kill the newest worker with its executor, as when a machine loses its power."""
        os.killpg(self.workers[-1].pid, signal.SIGKILL)
        self.workers.pop().wait()

    def _start(self, name: str, main: str, *arguments: str, address: bool = True) -> "subprocess.Popen[bytes]":
        [home] = self.venv.glob("lib/python3*/site-packages/pyspark")
        environment = os.environ | {
            "SPARK_HOME": str(home),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_LOCAL_DIRS": str(self.directory / "local"),
            "PYSPARK_PYTHON": str(self.venv / "bin/python"),
        }
        options = ["--host", "127.0.0.1", "--webui-port", "0"] if address else []
        log = self._stack.enter_context((self.directory / f"{name}.log").open("ab"))
        command: list[StrPath] = [home / "bin/spark-class", main, *options, *arguments]
        # In a group of its own: a worker's executors are processes beside it.
        process = running(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        return self._stack.enter_context(process)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def cluster(venv: Path, directory: Path) -> Iterator[Cluster]:
    """Run a cluster for tests, whose tables have few rows."""
    with Cluster(venv, directory).run(_FEW_ROWS) as running_cluster:
        yield running_cluster
