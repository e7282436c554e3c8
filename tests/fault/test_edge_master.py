"""The master of an edge: workers that hang, and what systemd is told."""
import contextlib
import os
import signal
import socket
import subprocess
import time

import weir
from weir import Death, Smtp, check_nothing_lost, message, wait_until, workers_of


def banner(cluster):
    started = time.monotonic()
    with Smtp(cluster.relay(), timeout=15) as client:
        assert client.greeting.code == 220, client.greeting
    return time.monotonic() - started


def test_hanging_worker_is_replaced(make_cluster):
    """It keeps its share of the new connections until the watchdog ends it; those that waited in its queue are then served."""
    cluster = make_cluster(edges=1, scanners=1, sets=["worker_watchdog=1s", "edge.workers=2"])
    load = cluster.load("--sessions", 20, "--seconds", 8, "--rate", 50, "--size", 4096, "--retry")
    time.sleep(1)
    victim, other = workers_of(cluster, "edge-1")
    os.kill(victim, signal.SIGSTOP)
    slowest = max(banner(cluster) for _ in range(30))
    wait_until(lambda: "hangs: silent for" in cluster.log("edge-1"), what="the watchdog")
    death = Death("edge-1", time.time())
    wait_until(lambda: len(workers_of(cluster, "edge-1")) == 2, what="its successor")
    assert victim not in workers_of(cluster, "edge-1") and other in workers_of(cluster, "edge-1")
    quick = max(banner(cluster) for _ in range(30))
    print(f"slowest banner: {slowest:.2f} s while it hung, {quick:.3f} s afterwards")
    assert slowest < 4 * weir.PATIENCE and quick < 1 * weir.PATIENCE
    _, answers = load.result()
    check_nothing_lost(cluster, answers, [death])
    wait_until(lambda: cluster.metric("weir_worker_deaths_total", node="edge-1", reason="hung") == 1, what="the metric")
    assert cluster.metric("weir_worker_deaths_total", node="edge-1", reason="died") == 0


def test_a_stopped_edge_is_not_taken_for_hanging_workers(make_cluster):
    """Master and workers stopped together (a suspended machine): when they go on nobody is killed."""
    cluster = make_cluster(edges=1, scanners=1, sets=["worker_watchdog=1s"])
    members = weir.family(cluster.pid("edge-1"))
    with Smtp(cluster.relay()) as client:
        for pid in members:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(3)
        for pid in members:
            os.kill(pid, signal.SIGCONT)
        time.sleep(1.5)
        assert client.command("NOOP").code == 250
    assert weir.family(cluster.pid("edge-1")) == members


def test_systemd_is_told(make_cluster, tmp_path):
    cluster = make_cluster(edges=1, scanners=1)
    command = open(f"/proc/{cluster.pid('edge-1')}/cmdline").read().split("\0")[:-1]
    cluster.stop("edge-1")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told, contextlib.ExitStack() as ends:
        told.bind(str(tmp_path / "notify"))
        told.settimeout(15 * weir.PATIENCE)
        log = ends.enter_context(open(tmp_path / "log", "w"))
        edge = subprocess.Popen([weir.BIN / "weir-edge", *command[1:]], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                env=dict(os.environ, NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="400000"))
        ends.callback(edge.wait)
        ends.callback(edge.terminate)

        def until(word):
            said = []
            while word not in said:
                said.append(told.recv(4096).decode().split("\n")[0])
            return said
        assert set(until("READY=1")) <= {"WATCHDOG=1", "READY=1"}
        assert cluster.send(message()).code == 250  # it serves when it says so
        started = time.monotonic()
        for _ in range(5):
            until("WATCHDOG=1")
        assert time.monotonic() - started < 5 * 0.4 * weir.PATIENCE
        edge.send_signal(signal.SIGHUP)
        until("RELOADING=1")
        until("READY=1")
        edge.send_signal(signal.SIGTERM)
        until("STOPPING=1")
        assert edge.wait(15 * weir.PATIENCE) == 0
