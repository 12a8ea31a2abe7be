"""Two hosts on one machine: network, pid, mount and UTS namespaces, connected by a link that can be cut.

A host has an address, a name that resolves to loopback (as Debian installs it), shared memory, a /tmp/ray and processes
of its own; all other files are shared, as on a cluster with a shared file system. Needs root.
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
    """One of the two hosts. `boot` starts its first process; when that ends, all others do."""

    name: str  # also the name of its network namespace
    address: str
    folder: Path
    env: dict[str, str]
    _machine: subprocess.Popen | None = field(default=None)

    def boot(self, *command: str) -> None:
        """Start the host, which lives as long as `command`; output goes to `folder/log`."""
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
        """Start a process on the running host, in the working directory of this process."""
        enter = ["nsenter", "--target", str(self._first_process()), "--net", "--uts", "--mount", "--pid"]
        return subprocess.Popen(
            [*enter, f"--wd={os.getcwd()}", *command], env=self.env, stdout=log.open("w"), stderr=subprocess.STDOUT
        )

    def power_off(self) -> None:
        """Kill all its processes together."""
        if self._machine is not None:
            os.killpg(self._machine.pid, signal.SIGKILL)
            self._machine.wait()
            self._machine = None

    def set_link(self, state: str) -> None:
        """Cut the link to the other host (down) or restore it (up)."""
        _ip("-n", self.name, "link", "set", "eth0", state)

    def processes(self, title: str) -> list[int]:
        """Return the pids, as this machine counts them, of host processes whose command line starts with `title`."""
        own = os.readlink(f"/proc/{self._first_process()}/ns/net")
        found = []
        for entry in filter(lambda entry: entry.name.isdigit(), Path("/proc").iterdir()):
            try:
                if os.readlink(entry / "ns" / "net") == own and (entry / "cmdline").read_text().startswith(title):
                    found.append(int(entry.name))
            except OSError:
                continue  # it ended meanwhile
        return found

    def sent_bytes(self) -> int:
        """Return the number of bytes that this host sent over the link."""
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
    """Create both hosts, connected and not yet booted. Raises OSError if this machine does not allow it."""
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
