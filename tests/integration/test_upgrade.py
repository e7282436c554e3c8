"""A cluster of the version before becomes one of this version, node by node, while mail flows (S74): coordinators first, as coordinator/README.md says.

The configuration stays what the version before was started with, as on a site. One cluster for all tests, which go on from each other.
"""
import base64
import contextlib
import json
import os
import re
import signal
import subprocess
import time

import pytest

import previous
import weir
from weir import PATIENCE, ROOT, Cluster, Smtp, check_nothing_lost, message, once_connected, pause, wait_until

NEW = weir.BIN


class Upgrading(Cluster):
    """old: where the version before was built; its own deploy/cluster starts it. Each node is of the version it was started with last."""

    def __init__(self, old, version, **options):
        super().__init__(**options)
        self.old, self.version, self.script, self.spooled, self.number = old, version, old / "deploy/cluster", [], 0

    @staticmethod
    def times():
        return []  # a key that the version before may not have

    def run(self, *words, check=True):
        env = dict(os.environ, WEIR_NO_BUILD="1", WEIR_CLUSTER=str(self.dir))
        if self.script != ROOT / "deploy/cluster":
            env.pop("WEIR_BUILD", None)
        done = subprocess.run([self.script, *words], env=env, capture_output=True, text=True, timeout=300, check=False)
        assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done

    def begin(self, node, old=False):
        self.script = (self.old if old else ROOT) / "deploy/cluster"
        self.start(node)

    def ctl(self, *words, old=False):
        """As an operator with either version's weirctl."""
        command = [(self.old / "build/bin" if old else NEW) / "weirctl", "-c", self.dir / "operator/weir.conf", *words]
        done = once_connected(lambda: subprocess.run(command, capture_output=True, text=True, timeout=120, check=False))
        assert done.returncode == 0, f"weirctl {words}: {done.stdout}{done.stderr}"
        return done.stdout

    def versions(self):
        """{node: version} as both weirctl say."""
        said = [{node["name"]: node["version"] for node in json.loads(self.ctl("--json", "node", "list", old=old))} for old in (True, False)]
        assert said[0] == said[1]
        return said[1]

    def by_relay(self, edge, raw):
        with Smtp(self.relay(edge)) as client:
            return said(client, ["MAIL FROM:<sender@example.org>", "RCPT TO:<alice@example.edu>"], raw)

    def by_person(self, edge, raw):
        with Smtp(self.env[f"EDGE_{edge}_SUBMISSION"]) as person:
            person.starttls(self.env["CA_FILE"])
            login = "AUTH PLAIN " + base64.b64encode(b"\0alice@example.edu\0wonderland").decode()
            return said(person, [login, "MAIL FROM:<alice@example.edu>", "RCPT TO:<bob@example.edu>"], raw)

    def taken(self, what, send):
        """The queue id. As from a client that comes again after a 4xx, and after nothing else: an edge that has just lost its coordinator says so until it has another."""
        began = time.monotonic()
        while (answer := send()).code // 100 == 4 and time.monotonic() - began < 30 * PATIENCE:
            time.sleep(pause(began))
        assert answer.code == 250, (what, answer)
        return answer.queue_id

    def taken_at_once(self, what, send):
        """The queue id. As from a device, which cannot come again."""
        answer = send()
        assert answer.code == 250, (what, answer)
        return answer.queue_id

    def mail(self):
        """One message by each way in, at each edge; those that go through the spool have left it, and the audit has them, when it returns."""
        ids = []
        for edge in (1, 2):
            self.number += 1
            tokens = {way: f"mixed-{self.number}-{way}" for way in ("relay", "handoff", "submission")}
            self.taken(tokens["relay"], lambda: self.by_relay(edge, message(token=tokens["relay"])))
            ids.append(self.taken_at_once(tokens["handoff"], lambda: self.send(message(token=tokens["handoff"]), edge, door="HANDOFF")))
            ids.append(self.taken(tokens["submission"], lambda: self.by_person(edge, message(token=tokens["submission"]))))
            self.spooled += tokens.values()
        assert None not in ids
        names = ",".join(f"'{ident}'" for ident in ids)
        wait_until(lambda: self.query(f"SELECT count(*) FROM audit WHERE id IN ({names}) AND disposition = 'delivered'") == [[str(len(ids))]], 60, "delivery from the spool")
        assert self.send(message(weir.EICAR.decode() + "\r\n")).code == 550

    def replaced(self, node, old=False):
        """Stops the node and starts it in the other version, which the registry then says."""
        self.stop(node)
        self.begin(node, old)
        version = self.version if old else new_version()
        wait_until(lambda: self.versions()[node] == version, 30, f"{node} is known as {version}")

    def rolled(self, node):
        """As operators do: out of the way, replaced, back."""
        self.ctl("drain", "--wait", node)
        self.replaced(node)
        self.ctl("undrain", "--wait", node)


def said(client, commands, raw):
    """The answer to the end of the message, or to the first that was no yes."""
    if client.greeting.code != 220:
        return client.greeting
    for command in commands:
        answer = client.command(command)
        if answer.code // 100 != 2:
            return answer
    return client.data(raw)


def new_version():
    return subprocess.run([NEW / "weirctl", "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]


@pytest.fixture(scope="module")
def cluster():
    try:
        old, version = previous.build()
    except previous.Missing as why:
        pytest.skip(f"no version before this one: {why}")
    made = Upgrading(old, version, edges=2, scanners=2, coordinators=2)
    try:
        made.up()
        made.traffic = made.load("--sessions", 4, "--rate", 30, "--seconds", 3600, "--size", 3000, "--retry", "--retry-for", 120, "--per-session", 5)
        yield made
    finally:
        with contextlib.suppress(AttributeError):
            made.traffic.process.kill()
        made.script = ROOT / "deploy/cluster"
        made.down()


def test_S74_an_edge_that_is_new_too_early_serves(cluster):
    """Coordinators come first; who began with an edge has mail flowing all the same."""
    assert set(cluster.versions().values()) == {cluster.version}
    cluster.rolled("edge-2")
    cluster.mail()
    cluster.replaced("edge-2", old=True)


def test_S74_one_coordinator_is_new(cluster):
    """It brings the schema up to date; the other one goes on with that."""
    cluster.replaced("coordinator-1")
    said = re.search("^version       mixed: (.*)$", cluster.ctl("status"), re.M).group(1)
    assert set(re.split(r"(?<=\)), ", said)) == {f"{new_version()} (coordinator-1)", f"{cluster.version} (edge-1, edge-2, scanner-1, scanner-2, coordinator-2)"}
    wait_until(lambda: cluster.metric("weir_versions") == 2, 30, "two versions")
    cluster.ctl("status", old=True)
    cluster.mail()
    cluster.stop("coordinator-1")  # all that is asked now is asked of the one before, and its database is of the version after
    cluster.mail()
    cluster.ctl("drain", "--wait", "scanner-1")
    cluster.ctl("undrain", "--wait", "scanner-1", old=True)
    cluster.begin("coordinator-1")


def test_S74_nodes_of_before_with_coordinators_of_now(cluster):
    cluster.replaced("coordinator-2")
    cluster.mail()
    for node in ("edge-1", "scanner-1"):
        cluster.ctl("drain", "--wait", node)
        cluster.ctl("undrain", "--wait", node, old=True)
    cluster.ctl("gc", "--wait", "--timeout", "60", "scanner-2")
    cluster.ctl("policy", "apply", str(cluster.dir / "policy"))
    cluster.mail()


@pytest.mark.parametrize("node", ["scanner-1", "edge-1", "edge-2", "scanner-2"])
def test_S74_one_node_after_the_other(cluster, node):
    """First a scanner, then an edge: each meets the other's version before."""
    cluster.rolled(node)
    cluster.mail()


def test_S74_nothing_was_lost(cluster):
    assert set(cluster.versions().values()) == {new_version()}
    assert f"version       {new_version()}\n" in cluster.ctl("status")
    wait_until(lambda: cluster.metric("weir_versions", 1) == cluster.metric("weir_versions", 2) == 1, 30, "one version")
    cluster.traffic.process.send_signal(signal.SIGTERM)
    report, answers = cluster.traffic.result()
    assert {answer.code for answer in answers.values()} == {250}
    assert check_nothing_lost(cluster, answers) == 0
    wait_until(lambda: cluster.metric("weir_conservation_difference") == 0, 30, "conservation")
    ours = re.findall(r"^X-Token: (mixed-\S+)\r$", "".join(raw.decode() for raw, _ in cluster.sink.messages()), re.M)
    said = sum(cluster.log(f"edge-{number}").count(words) for number in (1, 2) for words in ("an earlier delivery", "second copy"))
    assert set(ours) == set(cluster.spooled) and len(ours) - len(cluster.spooled) <= said, "each once, or the log says that there may be a second copy"
    print(f"{len(answers)} by weir-load, {sum(answer.attempts > 1 for answer in answers.values())} of them told once to come again by an edge that "
          f"was drained; {len(ours)} by hand; {report['rate']:.0f}/s")
