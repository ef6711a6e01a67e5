"""Programs that tests start as processes of their own."""

import signal
import subprocess
import sys
from pathlib import Path

SERVER = """
import asyncio, sys, uvloop
from pathlib import Path
from koordinator.clock import SystemClock
from koordinator.cluster.apiserver.app import ApiServerOptions, run
from koordinator.errors import KoordError
try:
    uvloop.run(run(ApiServerOptions(data=Path(sys.argv[1])), SystemClock(), lambda: print("ready", flush=True)))
except KoordError as err:
    print(err, flush=True)
"""


class ServerProcess:
    """The API server as a process that can be killed."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> str:
        """Its first line: ``ready``, or why it does not serve."""
        self.process = subprocess.Popen([sys.executable, "-c", SERVER, str(self.data)], stdout=subprocess.PIPE, text=True)
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        """SIGKILL: nothing can be tidied up."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()

    @property
    def url(self) -> str:
        lines = (self.data / "component.kubeconfig").read_text().splitlines()
        return next(line.split("server:")[1].strip() for line in lines if "server:" in line)

    @property
    def token(self) -> str:
        return (self.data / "token").read_text()
