"""Hostile peers on the ZeroMQ links: dropped, counted, nothing crashes, nothing grows."""
import os
import random
import time

import pytest
import zmq
import zmq.utils.monitor
import zmq.utils.z85

import weir
from weir import message, wait_until

MIB = 1 << 20
# What a process may grow by, whatever it is sent: each test sends several times as much. Sanitizers keep 256 MiB of what was freed.
GROWTH = (320 if weir.SANITIZED else 32) * MIB


def key_of(cluster, name):
    pair = {}
    for line in (cluster.dir / "keys" / f"{name}.key").read_text().splitlines():
        field, _, value = line.partition("=")
        pair[field.strip()] = bytes.fromhex(value.strip())
    return zmq.utils.z85.encode(pair["public"]), zmq.utils.z85.encode(pair["secret"])


def endpoints(cluster):
    text = (cluster.dir / "common.conf").read_text()
    coordinator = weir.re.search(r"listen = (tcp://\S+)", text).group(1)
    scanner = weir.re.search(r"listen = (tcp://\S+)", (cluster.dir / "scanner-1/weir.conf").read_text()).group(1)
    return {"coordinator-1": coordinator, "scanner-1": scanner}


def dealer(context, cluster, node, keys, watch=0):
    """Connected, or about to be. watch: events that its monitor socket tells, from the very first; who asks for it later has missed some."""
    sock = context.socket(zmq.DEALER)
    sock.linger = 0
    sock.immediate = 0
    sock.sndtimeo = 60000 * weir.PATIENCE
    sock.rcvtimeo = 30000 * weir.PATIENCE
    sock.curve_serverkey = key_of(cluster, node)[0]
    sock.curve_publickey, sock.curve_secretkey = keys
    if watch:
        sock.get_monitor_socket(watch)
    sock.connect(endpoints(cluster)[node])
    return sock


@pytest.fixture
def context():
    made = zmq.Context()
    yield made
    made.destroy(linger=0)


class Watched:
    """What a node's first process, the one that has the links, and its counters were when a test began."""

    def __init__(self, cluster, node):
        self.cluster, self.node, self.pid = cluster, node, cluster.pid(node)
        self.memory = weir.memory_kib_of(self.pid)
        self.counters = {}

    def count(self, name, **labels):
        return self.cluster.metric(name, node=self.node, **labels) or 0

    def expects(self, name, **labels):
        self.counters[name, *labels.items()] = self.count(name, **labels)

    def rose(self, least, name, **labels):
        before = self.counters[name, *labels.items()]
        wait_until(lambda: self.count(name, **labels) - before >= least, 60, f"{least} more of {name} {labels}, which began with {before}")

    def is_well(self):
        """Alive, at work, and not larger than it may be."""
        assert self.cluster.pid(self.node) == self.pid and os.path.exists(f"/proc/{self.pid}")
        assert self.cluster.send(message()).code == 250
        wait_until(lambda: (weir.memory_kib_of(self.pid) - self.memory) * 1024 < GROWTH, 30,
                   f"{self.node}, which had {self.memory} KiB, has the memory back")


NODES = [("coordinator-1", "edge-2"), ("scanner-1", "edge-2"), ("coordinator-1", "operator")]


@pytest.mark.sanitized
@pytest.mark.parametrize("node", ["coordinator-1", "scanner-1"])
def test_unknown_key_gets_nothing(cluster, context, node):
    watched = Watched(cluster, node)
    watched.expects("weir_link_refused_total")
    sock = dealer(context, cluster, node, zmq.curve_keypair(), watch=zmq.EVENT_ALL)
    monitor = sock.get_monitor_socket()
    seen = set()
    until = time.monotonic() + 30 * weir.PATIENCE
    while time.monotonic() < until and not seen & {zmq.EVENT_HANDSHAKE_FAILED_AUTH, zmq.EVENT_HANDSHAKE_SUCCEEDED}:
        if monitor.poll(200):
            seen.add(zmq.utils.monitor.recv_monitor_message(monitor)["event"])
    assert zmq.EVENT_HANDSHAKE_FAILED_AUTH in seen and zmq.EVENT_HANDSHAKE_SUCCEEDED not in seen
    watched.rose(1, "weir_link_refused_total")
    watched.is_well()


@pytest.mark.sanitized
@pytest.mark.parametrize("node, role", NODES)
def test_garbage_is_dropped_and_counted(cluster, context, node, role):
    dice = random.Random(4)
    pool = dice.randbytes(MIB)
    watched = Watched(cluster, node)
    watched.expects("weir_link_dropped_total")
    sock = dealer(context, cluster, node, key_of(cluster, role))
    messages = sent = 0
    while sent < 4 * GROWTH if not weir.SANITIZED else sent < 64 * MIB:
        frames = []
        for _ in range(dice.choice([1, 1, 2, 3, 70])):
            size = dice.choice([0, 1, 5, 200, 5000])
            at = dice.randrange(MIB - size)
            frames.append(pool[at:at + size])
        sock.send_multipart(frames)
        messages += 1
        sent += sum(map(len, frames))
    sock.send(b"\x08\x01" + b"\x50\x01" * 30000)  # tens of thousands of unknown fields
    sock.send(b"\x52" * 60000)
    watched.rose(messages * 99 // 100, "weir_link_dropped_total")  # a few bytes of chance may be a message
    watched.is_well()


@pytest.mark.sanitized
@pytest.mark.parametrize("node, role", NODES)
def test_oversized_frames(cluster, context, node, role):
    """Over the limit of a payload they are dropped; over what libzmq is told to take at all, they end the connection before they are read."""
    watched = Watched(cluster, node)
    watched.expects("weir_link_dropped_total", reason="oversized")
    watched.expects("weir_link_ended_total")
    sock = dealer(context, cluster, node, key_of(cluster, role))
    for _ in range(20):
        sock.send_multipart([b"", bytes(7 * MIB)])
    watched.rose(20, "weir_link_dropped_total", reason="oversized")
    watched.is_well()
    socks = [dealer(context, cluster, node, key_of(cluster, role)) for _ in range(10)]  # one that nobody refers to is closed, unsent
    for sock in socks:
        sock.send(bytes(16 * MIB))
    watched.rose(10, "weir_link_ended_total")
    for sock in socks:
        sock.close()
    watched.is_well()


@pytest.fixture(scope="module")
def narrow():
    """A cluster with low marks, and with a policy so large that a queue of answers with it is noticed."""
    made = weir.Cluster(edges=1, scanners=1, sets=["link_send_mark=64", "link_message=8MiB", "policy_size=4MiB", "scan_stall=20s"])
    try:
        made.up()
        (made.dir / "policy/aliases").write_text("# nothing\n" * (POLICY // 10))
        made.weirctl("policy", "apply", str(made.dir / "policy"))
        yield made
    finally:
        made.down()


POLICY = 512 * 1024  # bytes
SEND_MARK = 64


@pytest.mark.parametrize("node, role", [("coordinator-1", "edge-1"), ("scanner-1", "edge-1"), ("coordinator-1", "operator")])
def test_multiparts_without_an_end(narrow, context, node, role):
    """One that gets longer than link_message has its connection ended; of one whose sender goes away nothing stays."""
    watched = Watched(narrow, node)
    watched.expects("weir_link_dropped_total", reason="unfinished")
    watched.expects("weir_link_ended_total")
    part = bytes(MIB)
    for number in range(2):
        sock = dealer(context, narrow, node, key_of(narrow, role))
        sock.send_multipart([part] * 1000, copy=False)
        watched.rose(number + 1, "weir_link_dropped_total", reason="unfinished")
        sock.close()
    for _ in range(20):
        sock = dealer(context, narrow, node, key_of(narrow, role), watch=zmq.EVENT_HANDSHAKE_SUCCEEDED)
        monitor = sock.get_monitor_socket()
        assert monitor.poll(30000 * weir.PATIENCE), "connected"
        sock.send_multipart([bytes(MIB)] * 7)
        sock.disable_monitor()
        sock.close()  # with what the kernel has taken so far
    watched.rose(22, "weir_link_ended_total")
    watched.is_well()


def policy_request(have):
    """Frame{version: 2, policy_request: {have}}: answered from memory with the whole policy, as they have another."""
    body = b"\x08" + bytes([have & 127 | 128, have >> 7])
    return b"\x08\x02\x9a\x02" + bytes([len(body)]) + body


def test_peer_that_never_reads(narrow, context):
    """At most link_send_mark answers wait for it; the others are dropped and counted."""
    requests = 1500
    watched = Watched(narrow, "coordinator-1")
    watched.expects("weir_link_full_total")
    reader = dealer(context, narrow, "coordinator-1", key_of(narrow, "edge-1"))
    reader.send(policy_request(1000))
    answer = sum(map(len, reader.recv_multipart()))
    assert answer >= POLICY and requests * answer > 10 * (SEND_MARK * answer + GROWTH)
    sock = dealer(context, narrow, "coordinator-1", key_of(narrow, "edge-1"))
    sock.rcvhwm = 1
    largest = 0
    for number in range(requests):
        sock.send(policy_request(1000 + number))
        if number % 50 == 0:
            largest = max(largest, weir.memory_kib_of(watched.pid))
    watched.rose(requests // 2, "weir_link_full_total")
    largest = max(largest, weir.memory_kib_of(watched.pid))
    assert (largest - watched.memory) * 1024 < SEND_MARK * answer + GROWTH
    assert "scanner-1" in narrow.nodes()
    sock.close()
    watched.is_well()
