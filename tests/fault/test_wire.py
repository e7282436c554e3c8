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


def dealer(context, cluster, node, keys):
    sock = context.socket(zmq.DEALER)
    sock.linger = 0
    sock.immediate = 0
    sock.curve_serverkey = key_of(cluster, node)[0]
    sock.curve_publickey, sock.curve_secretkey = keys
    sock.connect(endpoints(cluster)[node])
    return sock


@pytest.fixture
def context():
    made = zmq.Context()
    yield made
    made.destroy(linger=0)


@pytest.mark.sanitized
@pytest.mark.parametrize("node", ["coordinator-1", "scanner-1"])
def test_unknown_key_gets_nothing(cluster, context, node):
    sock = dealer(context, cluster, node, zmq.curve_keypair())
    monitor = sock.get_monitor_socket()
    seen = set()
    until = time.monotonic() + 10
    while time.monotonic() < until and not seen & {zmq.EVENT_HANDSHAKE_FAILED_AUTH, zmq.EVENT_HANDSHAKE_SUCCEEDED}:
        if monitor.poll(200):
            seen.add(zmq.utils.monitor.recv_monitor_message(monitor)["event"])
    assert zmq.EVENT_HANDSHAKE_FAILED_AUTH in seen and zmq.EVENT_HANDSHAKE_SUCCEEDED not in seen


@pytest.mark.sanitized
@pytest.mark.parametrize("node, role", [("coordinator-1", "edge-2"), ("scanner-1", "edge-2"), ("coordinator-1", "operator")])
def test_garbage_is_dropped_and_counted(cluster, context, node, role):
    dice = random.Random(4)
    sock = dealer(context, cluster, node, key_of(cluster, role))
    pid = cluster.pid(node)
    before = weir.memory_kib(pid)
    for number in range(2000):
        frames = [os.urandom(dice.choice([0, 1, 5, 200, 5000])) for _ in range(dice.choice([1, 1, 2, 3, 70]))]
        sock.send_multipart(frames)
    sock.send(b"\x08\x01" + b"\x50\x01" * 30000)  # tens of thousands of unknown fields
    sock.send(b"\x52" * 60000)
    wait_until(lambda: (cluster.metric("weir_link_dropped_total", node=node) or 0) >= 2000, 20, "the drops in the metrics")
    assert cluster.pid(node) == pid and os.path.exists(f"/proc/{pid}")
    assert cluster.send(message()).code == 250
    assert weir.memory_kib(pid) - before < 64 * 1024
    big = dealer(context, cluster, node, key_of(cluster, role))
    big.send(b"x" * (16 << 20))  # over the frame limit: the connection ends, nobody grows
    time.sleep(1)
    assert weir.memory_kib(pid) - before < 64 * 1024
    assert cluster.send(message()).code == 250


def test_peer_that_never_reads_does_not_grow_anyone(cluster, context):
    sock = dealer(context, cluster, "coordinator-1", key_of(cluster, "operator"))
    sock.rcvhwm = 1
    pid = cluster.pid("coordinator-1")
    before = weir.memory_kib(pid)
    # AdminRequest{id: n, verb: "node list"}: version 1, field 50.
    verb = b"node list"
    for number in range(20000):
        body = b"\x08" + bytes([1 + number % 100]) + b"\x12" + bytes([len(verb)]) + verb
        try:
            sock.send(b"\x08\x01" + b"\x92\x03" + bytes([len(body)]) + body, zmq.DONTWAIT)
        except zmq.Again:
            break
    time.sleep(2)
    assert weir.memory_kib(pid) - before < 128 * 1024
    assert cluster.send(message()).code == 250
    assert "scanner-1" in cluster.nodes()
