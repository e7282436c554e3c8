"""What an operator does happens once, and is answered, whoever dies between the commit and the answer."""
import contextlib
import json
import os
import signal
import socket
import subprocess
import threading

import pytest

from coordinators import BIN, PATIENCE, Coordinators, pb, wait_until
from spooling import Edge, new_id

LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('weir admin', 0))"


class Wire(threading.Thread):
    """Between a coordinator and PostgreSQL. Who asks for `lost` on a connection hears nothing on it any more; PostgreSQL does what was asked."""

    def __init__(self, folder):
        super().__init__(daemon=True)
        self.server, self.folder, self.lost = folder + "/.s.PGSQL.5432", folder + "/wire", None
        os.mkdir(self.folder)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.folder + "/.s.PGSQL.5432")
        self.listener.listen()
        self.start()

    def run(self):
        while True:
            client = self.listener.accept()[0]
            server = socket.socket(socket.AF_UNIX)
            server.connect(self.server)
            muted = threading.Event()
            threading.Thread(target=self.ask, args=(client, server, muted), daemon=True).start()
            threading.Thread(target=self.answer, args=(server, client, muted), daemon=True).start()

    def ask(self, client, server, muted):
        tail = b""
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                if self.lost is not None and self.lost in tail + data:
                    muted.set()
                tail = data[-100:]
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    def answer(self, server, client, muted):
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if not muted.is_set():
                    client.sendall(data)
            client.shutdown(socket.SHUT_WR)


@pytest.fixture(scope="module")
def two():
    with Coordinators(2) as made:
        made.wire = Wire(made.pg.dir)
        config = made.config("coordinator-1")
        (made.dir / "wire").write_text(made.pg.conninfo.replace(made.pg.dir, made.wire.folder))
        config.write_text(config.read_text().replace(f"{made.dir}/database", f"{made.dir}/wire"))
        made.start()
        for name, role in (("edge-1", "edge"), ("scanner-1", "scanner"), ("second", "operator")):
            made.add_key(name, role)
        yield made


def acts(two):
    return int(two.pg.query("SELECT count(*) FROM act")[0][0])


@pytest.fixture
def unheard(two):
    """weirctl, of which the first coordinator is killed when what it asks for is committed, and has not been answered."""
    def run(*words, text=None):
        if "coordinator-1" not in two.processes:
            two.start("coordinator-1")
        known = acts(two)
        two.wire.lost = b"act_begin("
        with subprocess.Popen([BIN / "weirctl", "-c", two.config("operator"), "--json", *map(str, words)], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as asking:
            try:
                if text is not None:
                    asking.stdin.write(text)
                    asking.stdin.flush()
                wait_until(lambda: acts(two) > known, 60, "the commit")
                two.stop("coordinator-1", signal.SIGKILL)
                said, wrong = asking.communicate(timeout=60 * PATIENCE)
            finally:
                asking.kill()
                two.wire.lost = None
        assert asking.returncode == 0, (words, wrong)
        assert acts(two) == known + 1
        return json.loads(said)
    return run


def actions(two, action):
    return int(two.pg.query(f"SELECT count(*) FROM audit_action WHERE action = '{action}'")[0][0])


def test_a_policy_is_applied_once(two, unheard, tmp_path):
    (tmp_path / "mailertable").write_text("example.edu\tsmtp:[glass.example.edu]\n")
    answer = unheard("policy", "apply", tmp_path)
    assert answer["epoch"] == 1 and answer["changes"][0]["added"] == ["example.edu\tsmtp:[glass.example.edu]"], answer
    assert [one["epoch"] for one in two.json("policy", "history")] == [1]


def test_an_account_is_added_once(two, unheard):
    assert unheard("account", "add", "alice@example.edu", text="a good secret\n")["login"] == "alice@example.edu"
    assert actions(two, "account add") == 1
    assert two.metric('weir_admin_repeated_total{node="coordinator-2"}', "coordinator-2") >= 1
    assert "account add: asked for again" in two.log("coordinator-2")
    again = two.run_ctl("account", "add", "alice@example.edu", typed="a good secret\n")
    assert again.returncode == 65 and "already" in again.stderr, "another act is another one"


def test_mail_is_counted_once(two, unheard):
    node = two.node("edge-1", "edge", at="coordinator-2")
    assert node.hello(30) is not None
    edge, ids = Edge(node), [new_id() for _ in range(3)]
    for ident in ids:
        edge.stored(ident)
    assert unheard("queue", "hold", "--force")["changed"] == 3
    answer = unheard("queue", "release", "--to", "bob@example.org")
    assert answer["changed"] == 3 and sorted(answer["ids"]) == sorted(ids), answer
    assert unheard("queue", "delete", ids[0])["changed"] == 1
    assert unheard("queue", "delete", "--force")["changed"] == 2
    assert two.json("queue", "list") == [] and two.pg.query("SELECT difference FROM spool_sums()") == [["0"]]
    node.close()


def test_a_drain_and_a_generation_are_asked_for_once(two, unheard):
    drained = unheard("drain", "--force", "scanner-1")
    assert (drained["drain"], drained["drain_number"], actions(two, "drain")) == (True, 1, 1)
    assert unheard("gc", "scanner-1")["gc"] == 1 and two.json("node", "show", "scanner-1")["gc"] == 1
    assert unheard("undrain", "scanner-1")["drain_number"] == 2


def ask(operator, token=b""):
    """Asks for a new generation; `hear` has the status and its number."""
    operator.send(admin_request=pb.AdminRequest(id=7, verb=b"gc", args=[b"scanner-1"], act=token))


def hear(operator):
    reply, pieces = operator.receive("admin_reply", 60)
    return reply.status, json.loads(b"".join(pieces))["gc"]


@contextlib.contextmanager
def nobody_acts(two):
    with subprocess.Popen([two.pg.bin + "/psql", "-XAtq", two.pg.conninfo], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        try:
            holder.stdin.write(f"BEGIN;\n{LOCK};\n\\echo held\n")
            holder.stdin.flush()
            while "held" not in (line := holder.stdout.readline()):
                assert line != "", "psql ended"
            yield
            holder.communicate("COMMIT;\n", timeout=60 * PATIENCE)
        finally:
            holder.kill()


def test_two_coordinators_at_once(two):
    if "coordinator-1" not in two.processes:
        two.start("coordinator-1")
    first, second = (two.node("operator", "operator", at=name) for name in two.names)
    other = two.node("second", "operator", at="coordinator-2")
    start, token = two.json("node", "show", "scanner-1")["gc"], os.urandom(16)
    with nobody_acts(two):
        ask(first, token)
        ask(second, token)
        wait_until(lambda: int(two.pg.query("SELECT count(*) FROM pg_locks WHERE NOT granted")[0][0]) >= 2, 60, "both wait")
    assert hear(first) == hear(second) == (0, start + 1), "one did it, and both say so"
    with nobody_acts(two):
        ask(second, token)
        assert hear(second) == (0, start + 1), "from memory, so without waiting"
    ask(other, token)
    assert hear(other) == (0, start + 2), "another operator's token is another one"
    for number, one in enumerate((first, second), 3):
        ask(one)
        assert hear(one) == (0, start + number), "without a token each request is an act"
    for one in (first, second, other):
        one.close()


def test_what_was_refused_is_remembered_and_forgotten_in_time(two):
    if "coordinator-1" not in two.processes:
        two.start("coordinator-1")
    refused = two.run_ctl("gc", "nobody")
    assert refused.returncode == 65 and "no node is called" in refused.stderr
    assert two.pg.query("SELECT status, error FROM act ORDER BY at DESC LIMIT 1") == [["65", 'no node is called "nobody"']]
    for name in two.names:  # before anything is old: who leads could forget it, and take its counter along
        two.stop(name)
    ((old, young),) = two.pg.query("""WITH aged AS (UPDATE act SET at = at - interval '25 hours' WHERE status = 65 RETURNING 1)
                                      SELECT (SELECT count(*) FROM aged), (SELECT count(*) FROM act WHERE status = 0)""")
    two.start()
    wait_until(lambda: two.pg.query("SELECT count(*) FROM act") == [[young]], 60, "only what is older than act_memory has gone")
    wait_until(lambda: sum(two.metric(f'weir_admin_forgotten_total{{node="{name}"}}', name) for name in two.names) == int(old), 30, "the metric")
