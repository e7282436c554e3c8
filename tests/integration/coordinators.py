"""Coordinators with a private PostgreSQL, and peers that speak their protocol: nodes and strangers made in Python.

Everything is on loopback with ports the kernel chose, under one temporary directory.
"""
import contextlib
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import zmq
from zmq.utils import z85

from pg import PostgreSQL
from weir import BIN, PATIENCE, ROOT, check_for_reports, once_connected, wait_until  # noqa: F401


def _messages():
    folder = tempfile.mkdtemp(prefix="weir-proto-")
    subprocess.run(["protoc", f"--proto_path={ROOT}/proto", f"--python_out={folder}", "weir.proto"], check=True)
    sys.path.insert(0, folder)
    import weir_pb2  # pylint: disable=import-error,import-outside-toplevel
    shutil.rmtree(folder)
    return weir_pb2


pb = _messages()


def hold_port():
    """A socket whose port the system gives to nobody else as long as it is open; with SO_REUSEADDR, and as it does not listen, a coordinator
    can still bind it, again and again."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held


class Key:
    def __init__(self, path):
        self.path = path
        self.public = subprocess.run([BIN / "weirctl", "keys", "generate", path], check=True, capture_output=True, text=True).stdout.strip()
        secret = [line.split("=")[1].strip() for line in path.read_text().splitlines() if line.startswith("secret")][0]
        self.z_public = z85.encode(bytes.fromhex(self.public))
        self.z_secret = z85.encode(bytes.fromhex(secret))


class Coordinators:
    def __init__(self, count=1, sets=(), pg=None):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="weir-coordinators-"))
        self.pg = pg or PostgreSQL()
        self.keys, self.held, self.ports, self.processes = {}, {}, {}, {}
        self.names = [f"coordinator-{number + 1}" for number in range(count)]
        self.context = zmq.Context()
        common = ["[cluster]\nheartbeat_interval = 200ms\nnode_timeout = 5s\n"]
        for name in self.names:
            self.keys[name] = Key(self.dir / f"{name}.key")
            self.held[name] = [hold_port() for _ in range(3)]
            self.ports[name] = [held.getsockname()[1] for held in self.held[name]]
            listen, publish, http = self.ports[name]
            common.append(f'[coordinator "{name}"]\nlisten = tcp://127.0.0.1:{listen}\npublish = tcp://127.0.0.1:{publish}\n'
                          f"http = 127.0.0.1:{http}\npublic_key = {self.keys[name].public}\n" + "".join(f"{s}\n" for s in sets))
        (self.dir / "common.conf").write_text("\n".join(common))
        (self.dir / "database").write_text(self.pg.conninfo + "\n")
        for name in [*self.names, "operator"]:
            self.config(name).write_text(f"key_file = {self.dir}/{name}.key\ndatabase_file = {self.dir}/database\ninclude common.conf\n")
        self.add_key("operator", "operator", direct=True)

    def config(self, name):
        return self.dir / f"{name}.conf"

    def add_key(self, name, role, direct=False):
        """Makes a key and lets it in: through the database (for the first ones) or by weirctl."""
        key = self.keys[name] = Key(self.dir / f"{name}.key")
        if direct:
            first = self.names[0]
            subprocess.run([BIN / "weir-coordinator", "keys", "add", name, role, key.public, "-c", self.config(first), "--name", first],
                           check=True, capture_output=True)
        else:
            self.ctl("keys", "add", name, role, key.public)
        return key

    def start(self, *names, wait=True):
        for name in names or self.names:
            log = open(self.dir / f"{name}.log", "ab")
            self.processes[name] = subprocess.Popen([BIN / "weir-coordinator", "-c", self.config(name), "--name", name], stderr=log)
            log.close()
        for name in (names or self.names) if wait else ():
            wait_until(lambda n=name: self.http("/readyz", n)[0] == 200, 15, f"{name} is ready: {self.log(name)}")
        return self

    def stop(self, name, number=signal.SIGTERM):
        process = self.processes.pop(name)
        process.send_signal(number)
        return process.wait(10 * PATIENCE)

    def log(self, name):
        return (self.dir / f"{name}.log").read_text(errors="replace")

    def http(self, path, name="coordinator-1", method="GET"):
        url = f"http://127.0.0.1:{self.ports[name][2]}{path}"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(urllib.request.Request(url, method=method), timeout=5 * PATIENCE) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except (OSError, http.client.HTTPException) as error:  # which is when it ended in the middle of its answer
            return 0, str(error)

    def metric(self, series, name="coordinator-1"):
        for line in self.http("/metrics", name)[1].splitlines():
            if line.startswith(series + " "):
                return float(line.rsplit(" ", 1)[1])
        return None

    def run_ctl(self, *words, timeout=60, who="operator", typed=None, deaf=False):
        """deaf: no coordinator can answer, and it is not asked again."""
        return once_connected(lambda: subprocess.run([BIN / "weirctl", "-c", self.config(who), *map(str, words)], capture_output=True, text=True,
                                                     timeout=timeout * PATIENCE, input=typed, check=False), not deaf)

    def ctl(self, *words):
        done = self.run_ctl(*words)
        assert done.returncode == 0, f"weirctl {words}: {done.returncode} {done.stdout}{done.stderr}"
        return done.stdout

    def json(self, *words):
        return json.loads(self.ctl("--json", *words))

    def node(self, name, role, **options):
        return Node(self, name, role, **options)

    def close(self):
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(10 * PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        logs = {path.name: path.read_text(errors="replace") for path in self.dir.glob("*.log")}
        self.context.destroy(linger=0)
        self.pg.remove()
        for held in sum(self.held.values(), []):
            held.close()
        shutil.rmtree(self.dir)
        check_for_reports(logs)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Node:
    """A node, or who pretends to be one: a DEALER and a SUB at one coordinator."""

    def __init__(self, coordinators, name, role, key=None, at="coordinator-1", worker=0, boot=None):
        self.c, self.name, self.role, self.worker = coordinators, name, pb.Role.Value("ROLE_" + role.upper()), worker
        self.key = key or coordinators.keys[name]
        self.boot = boot if boot is not None else int.from_bytes(os.urandom(8), "big")
        self.sequence, self.at = 0, at
        self._connect()

    def _connect(self):
        self.dealer = self._socket(zmq.DEALER, self.at, 0)
        self.sub = self._socket(zmq.SUB, self.at, 1)
        self.sub.setsockopt(zmq.SUBSCRIBE, b"")

    def _socket(self, kind, at, port):
        sock = self.c.context.socket(kind)
        sock.setsockopt(zmq.LINGER, 0)
        sock.setsockopt(zmq.SNDTIMEO, 300)
        sock.curve_publickey, sock.curve_secretkey = self.key.z_public, self.key.z_secret
        sock.curve_serverkey = self.c.keys[at].z_public
        sock.connect(f"tcp://127.0.0.1:{self.c.ports[at][port]}")
        return sock

    def send(self, payloads=(), **body):
        frame = pb.Frame(version=1, **body)
        try:
            self.dealer.send_multipart([frame.SerializeToString(), *payloads])
        except zmq.Again:
            pass  # refused for good: such a socket takes nothing any more

    @staticmethod
    def _receive(sock, kind, seconds, accept):
        deadline = time.monotonic() + seconds * PATIENCE
        while (left := deadline - time.monotonic()) > 0:
            if not sock.poll(left * 1000):
                return None, []
            head, *payloads = sock.recv_multipart()
            frame = pb.Frame.FromString(head)
            with contextlib.suppress(AttributeError):  # of an entry() that is not there: of before the other coordinator knew of its key
                if frame.WhichOneof("body") == kind and accept(getattr(frame, kind)):
                    return getattr(frame, kind), payloads
        return None, []

    def receive(self, kind, seconds=5, accept=lambda body: True):
        return self._receive(self.dealer, kind, seconds, accept)

    def state(self, accept=lambda state: True, seconds=5):
        """The next published cluster state that is accepted; None when there is none in time."""
        return self._receive(self.sub, "cluster_state", seconds, accept)[0]

    def hello(self, seconds=5):
        """Connects anew until it is welcome: a refused libzmq client does not try again, and a key may be a moment old."""
        deadline = time.monotonic() + seconds * PATIENCE
        while time.monotonic() < deadline:
            self.send(node_hello=pb.NodeHello(node=self.name.encode(), role=self.role, worker=self.worker, boot=self.boot, version=b"test", pid=1))
            welcome = self.receive("node_welcome", 0.5)[0]
            if welcome is not None:
                return welcome
            self.close()
            self._connect()
        return None

    def beat(self, state="active", metrics=(), wait=True, **more):
        """The acknowledgement, or None. As a node does, it says hello and beats again when a link was closed under it: a revoked key, even
        one of an earlier test, closes all links of a coordinator once, and what was on its way then is gone."""
        extra = {"endpoint": b"tcp://127.0.0.1:7100", "public_key": bytes.fromhex(self.key.public)} if self.role == pb.ROLE_SCANNER else {}
        extra.update(more)
        node, role = extra.pop("node", self.name.encode()), extra.pop("role", self.role)

        def once(seconds):
            self.sequence += 1
            self.send(heartbeat=pb.Heartbeat(node=node, role=role, worker=self.worker, boot=self.boot, sequence=self.sequence,
                                             state=pb.NodeState.Value("NODE_" + state.upper()), metrics=metrics, version=b"test", pid=1, **extra))
            return seconds and self.receive("heartbeat_ack", seconds, lambda ack: ack.sequence == self.sequence)[0]

        if wait is not True:
            return once(wait) or None
        return once(2) or (self.hello(1) and once(2))

    def close(self):
        self.dealer.close()
        self.sub.close()


def entry(state, name):
    return next((node for node in state.nodes if node.node == name.encode()), None)


def counter(name, value, labels=""):
    return pb.MetricSample(name=name.encode(), labels=labels.encode(), kind=0, value=value)


def gauge(name, value, labels=""):
    return pb.MetricSample(name=name.encode(), labels=labels.encode(), kind=1, value=value)


def histogram(name, bounds, buckets, count, total, labels=""):
    return pb.MetricSample(name=name.encode(), labels=labels.encode(), kind=2, value=total, count=count, bounds=bounds, buckets=buckets)


def audit_row(ident, index=0, **fields):
    row = {"recipient": b"alice@example.edu", "sender": b"bob@example.org", "disposition": b"delivered", "reply_code": 250,
           "reply": b"250 2.0.0 Ok", "client": b"192.0.2.7", "helo": b"mx.example.org", "listener": b"relay",
           "message_id": b"<m1@example.org>", "size": 1234, "verdict": b"clean", "scanner": b"scanner-1", "engine": b"ClamAV 1.4.6",
           "signatures": b"27000", "next_hop": b"glass[127.0.0.1]:25", "next_hop_reply": b"250 2.0.0 Ok", "duration_ms": 12,
           "policy_epoch": 4, "rule": b"mailertable:12", "login": b"", "time_ms": int(time.time() * 1000)}
    row.update(fields)
    return pb.AuditRow(id=ident.encode(), recipient_index=index, **row)


@contextlib.contextmanager
def locked(c, sql):
    """Somebody else's transaction that has done this, and does not end."""
    with subprocess.Popen([c.pg.bin + "/psql", "-XAtq", c.pg.conninfo], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        holder.stdin.write(f"BEGIN; {sql}; SELECT 'locked';\n")
        holder.stdin.flush()
        try:
            assert holder.stdout.readline().strip() == "locked"
            yield
        finally:
            holder.stdin.close()  # which ends it, and rolls back


@contextlib.contextmanager
def welcome_edges(cluster):
    """Makes edges that the coordinator they are at knows, each a worker of its own; they end with it."""
    made = []

    def make(name="edge-1", at="coordinator-1"):
        made.append(cluster.node(name, "edge", at=at, worker=len(made)))
        wait_until(made[-1].hello, 30, f"{name} is welcome")
        return made[-1]
    try:
        yield make
    finally:
        for one in made:
            one.close()
