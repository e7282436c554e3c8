"""A private PostgreSQL in a temporary directory, on a unix socket only.

    with PostgreSQL() as pg:
        pg.conninfo            # "host=/tmp/... dbname=weir user=weir"
        pg.query("SELECT 1")   # rows as lists of strings
        pg.kill(); pg.start()  # SIGKILL, and back; pg.stop() is the polite way
        Standby(pg.dir)        # another one, that follows it
    Session(pg.conninfo)   # a transaction, statement by statement

PostgreSQL refuses to run as root, so as root it runs as postgres (or nobody).
"""
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time


def programs():
    for folder in ("/usr/lib/postgresql/15/bin", "/usr/lib/postgresql/16/bin", "/usr/lib/postgresql/17/bin"):
        if os.path.exists(folder + "/initdb"):
            return folder
    raise RuntimeError("no PostgreSQL server programs found: apt-get install postgresql-15")


def send(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def account():
    """Whom root lends it; None: it runs as who we are."""
    if os.getuid() != 0:
        return None
    names = [entry.pw_name for entry in pwd.getpwall()]
    return pwd.getpwnam("postgres" if "postgres" in names else "nobody")


class PostgreSQL:
    def __init__(self, settings=()):
        self._make_folder(settings)
        self._make()
        self.start()
        self._run([self.bin + "/createdb", "-h", self.dir, "-U", "weir", "weir"])

    def _make_folder(self, settings):
        self.bin = programs()
        self.dir = tempfile.mkdtemp(prefix="weir-pg-")
        self.data = self.dir + "/data"
        self.settings = ["fsync=off", "max_connections=40", "shared_buffers=32MB", *settings]
        self.conninfo = f"host={self.dir} port=5432 dbname=weir user=weir"
        self.process = None
        self.user = account()
        if self.user is not None:
            os.chown(self.dir, self.user.pw_uid, self.user.pw_gid)
        os.chmod(self.dir, 0o755)

    def _make(self):
        """As deploy/cluster does, whose template is this one's, too."""
        template = os.environ.get("WEIR_POSTGRES_TEMPLATE", "") + "/data"
        if os.path.exists(template):
            self._run(["cp", "-a", template, self.data])
        else:
            self._run([self.bin + "/initdb", "-D", self.data, "-U", "weir", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8", "-N"])

    def _as_user(self):
        if self.user is None:
            return {}
        return {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}

    def _run(self, command):
        done = subprocess.run(command, cwd=self.dir, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **self._as_user())
        if done.returncode != 0:
            raise RuntimeError(f"{command[0]}: {done.stdout}")

    def start(self):
        options = [part for setting in self.settings for part in ("-c", setting)]
        with open(self.dir + "/log", "ab") as log:
            self.process = subprocess.Popen(
                [self.bin + "/postgres", "-D", self.data, "-k", self.dir, "-c", "listen_addresses=", *options],
                cwd=self.dir, stdout=log, stderr=log, start_new_session=True, **self._as_user())
        deadline = time.monotonic() + 60
        ready = [self.bin + "/pg_isready", "-q", "-h", self.dir]
        while subprocess.run(ready, check=False).returncode != 0:
            if self.process.poll() is not None:
                self.process = None
            if self.process is None or time.monotonic() > deadline:
                raise RuntimeError(open(self.dir + "/log", encoding="utf-8").read())
            time.sleep(0.05)

    def stop(self):
        """Fast shutdown: clients are disconnected."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(120)
            self.process = None

    def kill(self):
        """As when the machine loses power: the postmaster and all its children at once. The children that are left would hold the shared memory
        for some moments yet, and a new postmaster gives up beside them."""
        os.kill(self.process.pid, signal.SIGSTOP)  # no new child, and none reaped
        for pid in self.all_pids():
            send(pid, signal.SIGKILL)
        self.process.wait(120)
        self.process = None
        deadline = time.monotonic() + 60
        while self.all_pids():
            if time.monotonic() > deadline:
                raise RuntimeError(f"killed, and still there: {self.all_pids()}")
            time.sleep(0.02)

    def all_pids(self):
        """Of every process that works in the data folder (they all do), whoever its parent is. A zombie works nowhere."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.readlink(f"/proc/{pid}/cwd") == self.data:
                    found.append(int(pid))
            except OSError:
                pass
        return found

    def signal_all(self, number):
        """SIGSTOP and SIGCONT: a server that hangs, and goes on."""
        for pid in self.all_pids():
            send(pid, number)

    def query(self, sql):
        done = subprocess.run([self.bin + "/psql", "-XAtq", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-c", sql, self.conninfo],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise OSError(done.stderr)
        return [line.split("\t") for line in done.stdout.splitlines()]

    def remove(self):
        if self.process is not None:
            self.signal_all(signal.SIGCONT)
            self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()


class Session:
    """A transaction of somebody else's, statement by statement; it never is who gives way in a deadlock."""

    def __init__(self, conninfo):
        self.psql = subprocess.Popen([programs() + "/psql", "-XAtq", conninfo], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                     stderr=subprocess.STDOUT, text=True, bufsize=1)
        self.do("SET deadlock_timeout = '60s'; BEGIN")

    def say(self, sql):
        self.psql.stdin.write(sql + ";\n\\echo done\n")
        self.psql.stdin.flush()

    def heard(self):
        said = []
        while (line := self.psql.stdout.readline().strip()) != "done":
            assert line or self.psql.poll() is None, said
            said.append(line)
        return said

    def do(self, sql):
        self.say(sql)
        return self.heard()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.psql.kill()
        self.psql.wait()
        self.psql.stdin.close()
        self.psql.stdout.close()


class Standby(PostgreSQL):
    """A copy of the server whose socket is in the folder `primary`, which it follows until it is promoted."""

    def __init__(self, primary, settings=()):
        self._make_folder(settings)
        self._run([self.bin + "/pg_basebackup", "-h", primary, "-U", "weir", "-D", self.data, "-R", "-N", "-c", "fast"])
        self.start()

    def promote(self):
        assert self.query("SELECT pg_promote(true, 180)") == [["t"]]
