"""Routes that lead back: to the edge itself, to another edge of its cluster, and by what is in between."""
import contextlib
import socket
import threading

import pytest

import weir
from weir import Smtp, message, wait_until


class Forwarder:
    """A port that leads to another one, as a load balancer's does."""

    def __init__(self, to, at=("127.0.0.1", 0)):
        self.to, self.count = to, 0
        self.server = socket.create_server(at)
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.server.accept()
                self.count += 1
                far = socket.create_connection(self.to)
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self.copy, args=(one, other), daemon=True).start()

    @staticmethod
    def copy(one, other):
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)

    def stop(self):
        self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()


@pytest.fixture(scope="module")
def maze():
    made = weir.Cluster(edges=2, scanners=1, sets=["edge.workers=1"])
    forwarder = None
    try:
        made.up()
        forwarder = made.forwarder = Forwarder(("127.0.0.1", port_of(made.relay())))
        ports = {"self": port_of(made.relay()), "handoff": port_of(made.env["EDGE_1_HANDOFF"]), "other": port_of(made.relay(2)),
                 "round": forwarder.port}
        table = made.dir / "policy" / "mailertable"
        routes = "".join(f"{name}.loop.test smtp:[127.0.0.1]:{port}\n" for name, port in ports.items())
        table.write_text(table.read_text() + routes + f"name.loop.test smtp:[localhost]:{ports['self']}\n")
        made.weirctl("policy", "apply", str(made.dir / "policy"))
        for edge in (1, 2):
            wait_until(lambda edge=edge: rcpt(made, "self.loop.test", edge)[0] != 250, 30, "the new routes")
        yield made
    finally:
        made.down()
        if forwarder is not None:
            forwarder.stop()


def port_of(address):
    return int(address.rpartition(":")[2])


def rcpt(cluster, domain, edge=1):
    with Smtp(cluster.relay(edge)) as client:
        answer, = client.envelope(recipients=[f"x@{domain}"])
    return answer.code, answer.text.split()[0]


def visits(cluster, edge):
    return cluster.log(edge).count(": connect from")


@pytest.mark.sanitized
@pytest.mark.parametrize("domain", ["self", "name", "handoff"])
def test_a_route_to_ourselves(maze, domain):
    """No connection is made at all: the only one is the client's."""
    before = visits(maze, "edge-1")
    assert rcpt(maze, f"{domain}.loop.test") == (554, "5.4.6")
    assert visits(maze, "edge-1") == before + 1


@pytest.mark.sanitized
@pytest.mark.parametrize("domain, at", [("other", 1), ("self", 2), ("round", 1)])
def test_a_route_to_another_edge(maze, domain, at):
    """It says in its EHLO reply whose edge it is, so one connection is enough to know."""
    before, forwarded = visits(maze, "edge-1") + visits(maze, "edge-2"), maze.forwarder.count
    assert rcpt(maze, f"{domain}.loop.test", at) == (554, "5.4.6")
    assert visits(maze, "edge-1") + visits(maze, "edge-2") == before + 2
    assert maze.forwarder.count == forwarded + (domain == "round")


def test_another_port_of_this_host_is_no_loop(maze):
    assert maze.send(message(token="beside")).code == 250
    assert maze.sink.with_token("beside")


@pytest.mark.parametrize("domain", ["self", "other"])
def test_from_the_spool_it_is_reported_at_once(maze, domain):
    with Smtp(maze.env["EDGE_1_HANDOFF"]) as client:
        answer, = client.envelope(sender="sender@example.edu", recipients=[f"x@{domain}.loop.test"])
        assert answer.code == 250
        assert client.data(message(token=f"loop-{domain}")).code == 250

    def report():
        return [raw for raw, _ in maze.sink.messages() if b"report-type=delivery-status" in raw and f"x@{domain}.loop.test".encode() in raw]
    wait_until(report, 60, "the report")
    assert b"Status: 5.4.6" in report()[0], report()[0]
