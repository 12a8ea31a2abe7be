"""Two hosts on one machine: namespaces of network, processes, mounts and name, joined by one link that can be cut.

A host has an address, a name that resolves to loopback (as Debian installs it), shared memory, a /tmp/ray and processes
of its own; it shares the other files, as nodes of a cluster share theirs. Needs root.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_FIRST = """hostname {name}; mount -t tmpfs tmpfs /dev/shm
mkdir -p /tmp/ray; mount --bind {folder}/ray /tmp/ray; mount --bind {folder}/hosts /etc/hosts
exec "$@"
"""


@dataclass
class Host:
    """One of the two. `boot` starts its first process, with which all others end."""

    name: str  # also of its network namespace
    address: str
    folder: Path
    env: dict[str, str]
    _machine: subprocess.Popen | None = field(default=None)

    def boot(self, *command: str) -> None:
        """Start the host, whose life is that of `command`; its output goes to `folder/log`."""
        (self.folder / "ray").mkdir(parents=True, exist_ok=True)
        (self.folder / "hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {self.name}\n")
        self._machine = subprocess.Popen(
            [
                "ip", "netns", "exec", self.name, "unshare", "--mount", "--uts", "--pid", "--kill-child",
                "--mount-proc", "bash", "-ec", _FIRST.format(name=self.name, folder=self.folder), "bash",
                *command,
            ],
            env=self.env, stdout=(self.folder / "log").open("a"), stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def start(self, command: Sequence[str], log: Path) -> subprocess.Popen:
        """A process on the running host, in this one's working directory."""
        enter = ["nsenter", "--target", str(self._first_process()), "--net", "--uts", "--mount", "--pid"]
        return subprocess.Popen(
            [*enter, f"--wd={os.getcwd()}", *command], env=self.env, stdout=log.open("w"), stderr=subprocess.STDOUT
        )

    def power_off(self) -> None:
        """Kill all its processes at once."""
        if self._machine is not None:
            os.killpg(self._machine.pid, signal.SIGKILL)
            self._machine.wait()
            self._machine = None

    def set_link(self, state: str) -> None:
        """Cut the link to the other host (down), or mend it (up)."""
        _ip("-n", self.name, "link", "set", "eth0", state)

    def processes(self, title: str) -> list[int]:
        """Pids, as this machine counts them, of the host's processes whose command line begins with `title`."""
        own = os.readlink(f"/proc/{self._first_process()}/ns/net")
        found = []
        for entry in filter(lambda entry: entry.name.isdigit(), Path("/proc").iterdir()):
            try:
                if os.readlink(entry / "ns" / "net") == own and (entry / "cmdline").read_text().startswith(title):
                    found.append(int(entry.name))
            except OSError:
                continue  # it ended while we looked
        return found

    def sent_bytes(self) -> int:
        """What went over the link from here."""
        counter = "/sys/class/net/eth0/statistics/tx_bytes"
        return int(subprocess.check_output(["ip", "netns", "exec", self.name, "cat", counter]))

    def _first_process(self) -> int:
        assert self._machine is not None
        deadline = time.monotonic() + 20
        children = Path(f"/proc/{self._machine.pid}/task/{self._machine.pid}/children")
        while not (found := children.read_text().split()):
            assert time.monotonic() < deadline and self._machine.poll() is None, self.folder
            time.sleep(0.1)
        return int(found[0])


@contextmanager
def two_hosts(folder: Path, env: dict[str, str]) -> Iterator[tuple[Host, Host]]:
    """Both hosts, joined and not yet booted. Raises OSError where this machine cannot make them."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "unshare", "nsenter"))):
        raise OSError("network namespaces want root, iproute2 and util-linux")
    net, mark = f"10.77.{os.getpid() % 256}", os.getpid()
    names = [f"vrl{mark}a", f"vrl{mark}b"]
    hosts = [Host(name=name, address=f"{net}.{i + 1}", folder=folder / name, env=env) for i, name in enumerate(names)]
    try:
        for name in names:
            _ip("netns", "add", name)
        _ip("link", "add", "eth0", "netns", names[0], "type", "veth", "peer", "name", "eth0", "netns", names[1])
        for host in hosts:
            _ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", "eth0")
            _ip("-n", host.name, "link", "set", "lo", "up")
            host.set_link("up")
        yield hosts[0], hosts[1]
    finally:
        for host in hosts:
            host.power_off()
            subprocess.run(["ip", "netns", "del", host.name], capture_output=True, check=False)


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
