"""The real kubectl binaries that `scripts/install-test-deps` fetches, as users have them: with a kubeconfig and no more."""

import asyncio
import shlex
import sys
from pathlib import Path

import msgspec

BIN = Path(sys.executable).parent
BINARIES = {"debian": BIN.parent / "share/kubernetes-client/usr/bin/kubectl", "current": BIN / "kubectl"}
"""Debian's is 1.20, the oldest that users are likely to have."""


class Ran(msgspec.Struct, frozen=True):
    code: int
    out: str
    err: str


class Kubectl:
    """One binary. A single argument is a command line, several are arguments as they are."""

    def __init__(self, binary: Path, kubeconfig: Path, home: Path) -> None:
        self.binary = binary
        self.environment = {"KUBECONFIG": str(kubeconfig), "HOME": str(home), "PATH": "/usr/bin:/bin"}

    async def run(self, *arguments: str, stdin: str = "") -> Ran:
        words = shlex.split(arguments[0]) if len(arguments) == 1 else arguments
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), asyncio.subprocess.PIPE)
        process = await asyncio.create_subprocess_exec(str(self.binary), *words, env=self.environment, **pipes)
        async with asyncio.timeout(60):
            out, err = await process.communicate(stdin.encode())
        return Ran(process.returncode, out.decode(), err.decode())

    async def __call__(self, *arguments: str, stdin: str = "") -> str:
        """What a command prints; it must succeed."""
        ran = await self.run(*arguments, stdin=stdin)
        assert ran.code == 0, f"kubectl {' '.join(arguments)}: {ran.err}"
        return ran.out

    async def refused(self, *arguments: str, stdin: str = "") -> str:
        """What a command that must fail complains about."""
        ran = await self.run(*arguments, stdin=stdin)
        assert ran.code != 0, f"kubectl {' '.join(arguments)}: {ran.out}"
        return ran.err
