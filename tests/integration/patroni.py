"""Two PostgreSQL servers under Patroni with an etcd, as deploy/patroni/patroni.yml makes them, on private ports under one folder.

The file is used as it is delivered but for names, addresses, paths and times. As root it all runs as the account that PostgreSQL runs as.
"""
import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request

from pg import account, programs, send
from weir import ROOT, family, free_base_port, wait_until

EXAMPLE = ROOT / "deploy/patroni/patroni.yml"
REAPER = pathlib.Path(__file__).with_name("reaper.py")
PASSWORD = "replace-me-2"  # of the superuser, in the example


def missing():
    """What is not installed here, or why it cannot run; empty when all is there."""
    for program in ("patroni", "patronictl", "etcd"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    done = subprocess.run(["patroni", "--version"], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"patroni does not run here: {done.stderr[-200:]}"


class Patroni:
    def __init__(self, names=("db-1", "db-2")):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="weir-patroni-"))
        self.user, self.names, self.processes = account(), names, {}
        self.base = free_base_port()
        self.etcd_port = self.base + 20
        if self.user is not None:
            os.chown(self.dir, self.user.pw_uid, self.user.pw_gid)
        self.dir.chmod(0o755)
        for number, name in enumerate(names):
            self._configure(name, number)

    def port(self, name):
        return self.base + 10 + self.names.index(name)

    def _configure(self, name, number):
        text = EXAMPLE.read_text()
        for there, here in (
                ("name: db-1", f"name: {name}"),
                ("192.0.2.31:2379,192.0.2.32:2379,192.0.2.33:2379", f"127.0.0.1:{self.etcd_port}"),
                ("192.0.2.21:8008", f"127.0.0.1:{self.base + 30 + number}"),
                ("192.0.2.21:5432", f"127.0.0.1:{self.port(name)}"),
                ("192.0.2.0/24", "127.0.0.0/8"),
                ("/var/lib/postgresql/15/weir", f"{self.dir}/{name}"),
                ("/usr/lib/postgresql/15/bin", programs()),
                ("/var/lib/postgresql/.pgpass-patroni", f"{self.dir}/{name}.pgpass"),
                # A failover in 10 s instead of 20 s, a second member that does not wait for the next checkpoint, and no sockets in /run.
                ("ttl: 20 ", "ttl: 10 "), ("loop_wait: 5\n", "loop_wait: 1\n"), ("retry_timeout: 5 ", "retry_timeout: 2 "),
                ("postgresql:\n  listen", f"postgresql:\n  parameters: {{ unix_socket_directories: '{self.dir}', fsync: 'off' }}\n"
                                          "  create_replica_methods: [basebackup]\n  basebackup: [{ checkpoint: fast }, no-sync]\n  listen"),
                ("mode: automatic, device: /dev/watchdog, safety_margin: 5", "mode: 'off'")):
            assert there in text, f"{EXAMPLE} has no {there!r} any more"
            text = text.replace(there, here)
        (self.dir / f"{name}.yml").write_text(text)

    def _spawn(self, name, *command):
        as_user = {} if self.user is None else {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}
        with open(self.dir / f"{name}.log", "ab") as log:
            self.processes[name] = subprocess.Popen(command, cwd=self.dir, stdout=log, stderr=log, start_new_session=True,
                                                    env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": str(self.dir)}, **as_user)

    def up(self):
        client, peer = f"http://127.0.0.1:{self.etcd_port}", f"http://127.0.0.1:{self.etcd_port + 1}"
        self._spawn("etcd", "etcd", "--data-dir", self.dir / "etcd", "--listen-client-urls", client, "--advertise-client-urls", client,
                    "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}")
        for name in self.names:
            self.start(name)

    def wait_whole(self):
        wait_until(self.is_whole, 90, "a primary and its synchronous standby")

    def start(self, name):
        # As text: whom it runs as may not be able to read this folder.
        self._spawn(name, sys.executable, "-c", REAPER.read_text(), "patroni", self.dir / f"{name}.yml")

    def ctl(self, *words):
        done = subprocess.run(["patronictl", "-c", self.dir / f"{self.names[0]}.yml", *words], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, f"patronictl {words}: {done.stdout}{done.stderr}"
        return done.stdout

    def roles(self):
        """{name: role} of those that run, as the first member says that answers. Patroni's own page: patronictl takes a second of a CPU."""
        for number in range(len(self.names)):
            with contextlib.suppress(OSError):
                opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
                with opener.open(f"http://127.0.0.1:{self.base + 30 + number}/cluster", timeout=10) as page:
                    return {one["name"]: one["role"] for one in json.load(page)["members"] if one["state"] in ("running", "streaming")}
        return {}

    def is_whole(self):
        return sorted(self.roles().values()) == ["leader", "sync_standby"]

    def leader(self):
        """Who is it and takes writes; None while nobody does."""
        return next((name for name, role in self.roles().items() if role == "leader"), None)

    def conninfo(self, dbname="weir", user="weir", password="sesame"):
        ports = ",".join(str(self.port(name)) for name in self.names)
        hosts = ",".join("127.0.0.1" for _ in self.names)
        return f"host={hosts} port={ports} dbname={dbname} user={user} password={password} target_session_attrs=read-write"

    def restore(self, dump):
        """The database weir of the role weir, as the dump has it. True, or why not."""
        psql = [programs() + "/psql", "-Xq", "-v", "ON_ERROR_STOP=1"]
        owner = self.conninfo("postgres", "postgres", PASSWORD)
        statements = ("DROP DATABASE IF EXISTS weir", "DROP ROLE IF EXISTS weir", "CREATE ROLE weir LOGIN PASSWORD 'sesame'", "CREATE DATABASE weir OWNER weir",
                      "DROP ROLE IF EXISTS weir_web", "CREATE ROLE weir_web LOGIN")
        for command, script in (([*psql, *(word for one in statements for word in ("-c", one)), owner], None), ([*psql, "-1", "-f", "-", self.conninfo()], dump)):
            done = subprocess.run(command, input=script, capture_output=True, text=True, timeout=120, check=False)
            if done.returncode != 0:
                raise OSError(done.stderr)
        return True

    def switch(self, first):
        """Asks for another leader than the first one until there is one, as an operator would; what patronictl said."""
        said = ""

        def other():
            nonlocal said
            if self.leader() not in (None, first):
                return True
            said = self.ctl("switchover", "--force")
            return False

        wait_until(other, 60, "another leader")
        return said

    def kill(self, name):
        """As when its machine loses power: Patroni and its PostgreSQL at once."""
        members = self.members(name)
        for number in (signal.SIGSTOP, signal.SIGKILL):  # so that nobody restarts or tells of another's end
            for pid in members:
                send(pid, number)
        self.processes.pop(name).wait(60)
        wait_until(lambda: not self.members(name), 30, f"the end of {name}")

    def members(self, name):
        """Of Patroni, which starts PostgreSQL in a session of its own, and of all that work in that member's folder; not of who buries them."""
        process = self.processes.get(name)
        found = set() if process is None else set(family(process.pid)) - {process.pid}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.readlink(f"/proc/{pid}/cwd") == f"{self.dir}/{name}":
                    found.add(int(pid))
            except OSError:
                pass
        return found

    def log(self):
        return "".join(f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}" for path in self.dir.glob("*.log"))

    def remove(self):
        for name in list(self.names):
            if name in self.processes:
                self.kill(name)
        for process in self.processes.values():
            process.kill()
            process.wait(60)
        shutil.rmtree(self.dir, ignore_errors=True)
