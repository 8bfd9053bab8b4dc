"""Hosts on one machine: each has its own processes, files under /tmp and HOME, shared memory, address and sshd.

A laptop (10.77.0.254) and hosts (10.77.0.1, .2, ...) on a bridge that lives in the laptop's network namespace, so
nothing of it is seen outside. They share the checkout, the environment and one folder. Ending a host's first process
ends all of its processes and takes it off the network, as when its power fails.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPO = HERE.parent.parent
HOME = Path(pwd.getpwuid(os.getuid()).pw_dir)
LAPTOP = "10.77.0.254"
NAMESPACES = ["--mount", "--uts", "--ipc", "--pid", "--net"]
SSHD = """\
Port 22
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/key.pub
StrictModes no
UsePAM no
PidFile none
UseDNS no
MaxStartups 100
LogLevel ERROR
"""


@dataclass
class Host:
    """One host; `pid` is its first process, as this machine numbers it."""

    name: str
    address: str
    unshare: subprocess.Popen[bytes]
    pid: int

    def command(self, *words: str | Path) -> list[str]:
        """Words that run a command on this host, in the checkout."""
        enter = ["nsenter", "--target", str(self.pid), *NAMESPACES]
        ours = [f"--unset={name}" for name in os.environ if name.startswith("RAY_")]
        return [*enter, "env", *ours, f"--chdir={REPO}", f"HOME={HOME}", *map(str, words)]

    def run(self, *words: str | Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a command on this host; output as text."""
        return subprocess.run(
            self.command(*words), capture_output=True, text=True, timeout=timeout, check=False, stdin=subprocess.DEVNULL
        )

    def processes(self) -> list[str]:
        """Command lines of what runs on this host, without its first processes."""
        listed = self.run("ps", "-e", "-o", "pid=,ppid=,args=").stdout.splitlines()
        own = ("host.sh", "sleep infinity", "sshd", "ps -e", "[ssh")
        return [line for line in listed if not any(word in line for word in own)]

    def kill(self) -> None:
        """End the host: every process of it dies at once, and its address with them."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.unshare.wait(timeout=30)


@contextlib.contextmanager
def lab(folder: Path, count: int) -> Iterator[tuple[Host, list[Host]]]:
    """A laptop and `count` hosts that see `folder`; all gone afterwards. `folder/key` lets one in by ssh."""
    for name in ("key", "host_key"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True)
    (folder / "sshd_config").write_text(SSHD.format(folder=folder))
    with contextlib.ExitStack() as stack:
        laptop = _start(stack, folder, "laptop", LAPTOP, None)
        _on(laptop, "ip link add bridge0 type bridge", f"ip addr add {LAPTOP}/24 dev bridge0", "ip link set bridge0 up")
        hosts = [_start(stack, folder, f"host{n}", f"10.77.0.{n}", folder / "sshd_config") for n in range(1, count + 1)]
        for host in hosts:
            _connect(laptop, host)
        yield laptop, hosts


def _start(stack: contextlib.ExitStack, folder: Path, name: str, address: str, sshd: Path | None) -> Host:
    hidden = (Path("/tmp"), Path("/run"), HOME)
    wanted = {Path(sys.base_prefix).resolve(), Path(sys.prefix), REPO, folder}
    keep = sorted(path for path in wanted if any(path.is_relative_to(place) for place in hidden))
    script = [HERE / "host.sh", name, HOME, sshd or "", *keep]
    command = ["setpriv", "--pdeathsig", "KILL", "unshare", *NAMESPACES, "--fork", "--mount-proc", "--kill-child"]
    with (folder / f"{name}.log").open("wb") as log:
        words = [*command, "bash", *map(str, script)]
        unshare = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    host = Host(name, address, unshare, 0)
    stack.callback(_end, host)
    host.pid = _child(unshare, folder / f"{name}.log")
    return host


def _child(unshare: subprocess.Popen[bytes], log: Path) -> int:
    """The first process in the namespaces, once it is there and has made its place."""
    deadline = time.monotonic() + 20
    children = Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children")
    while time.monotonic() < deadline and unshare.poll() is None:
        for pid in children.read_text().split():
            if b"sleep\0infinity" in _command_lines_below(int(pid)):
                return int(pid)
        time.sleep(0.05)
    raise RuntimeError(f"a host did not start: {log.read_text()}")


def _command_lines_below(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return b"".join(Path(f"/proc/{child}/cmdline").read_bytes() for child in children)
    return b""


def _connect(laptop: Host, host: Host) -> None:
    end = f"to_{host.name}"
    _on(
        laptop,
        f"ip link add {end} type veth peer name eth0 netns {host.pid}",
        f"ip link set {end} master bridge0 up",
    )
    # Ray looks for its own address on the way to the default route; nothing needs to be there.
    _on(host, f"ip addr add {host.address}/24 dev eth0", "ip link set eth0 up", f"ip route add default via {LAPTOP}")


def _on(host: Host, *commands: str) -> None:
    """Run network commands on a host, seen from this machine's process numbers."""
    for command in commands:
        enter = ["nsenter", "--target", str(host.pid), "--net"]
        subprocess.run([*enter, *command.split()], check=True, capture_output=True)


def _end(host: Host) -> None:
    if host.pid:
        host.kill()
    host.unshare.kill()
    host.unshare.wait()
