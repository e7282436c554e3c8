"""The master of an edge: workers that hang, and what systemd is told."""
import contextlib
import os
import pathlib
import re
import select
import signal
import socket
import subprocess
import time

import pytest

import weir
from weir import Death, Smtp, check_nothing_lost, message, wait_until, workers_of


def banner(cluster):
    """How long it took; whoever is in the queue of a worker that hangs, and stays so, has none within the client's patience."""
    started = time.monotonic()
    with Smtp(cluster.relay(), timeout=15) as client:
        assert client.greeting.code == 220, client.greeting
    return time.monotonic() - started


def test_hanging_worker_is_replaced(make_cluster):
    """It keeps its share of the new connections until the watchdog ends it; those that waited in its queue are then served."""
    cluster = make_cluster(edges=1, scanners=1, sets=["worker_watchdog=4s", "edge.workers=2"])
    load = cluster.load("--sessions", 20, "--seconds", 10, "--rate", 50, "--size", 4096, "--retry")
    wait_until(cluster.sink.count, 30, "mail")
    victim, other = workers_of(cluster, "edge-1")
    os.kill(victim, signal.SIGSTOP)
    slowest = max(banner(cluster) for _ in range(30))
    wait_until(lambda: "hangs: silent for" in cluster.log("edge-1"), what="the watchdog")
    death = Death("edge-1", time.time())
    wait_until(lambda: len(workers_of(cluster, "edge-1")) == 2, what="its successor")
    assert victim not in workers_of(cluster, "edge-1") and other in workers_of(cluster, "edge-1")
    quick = max(banner(cluster) for _ in range(30))
    print(f"slowest banner: {slowest:.2f} s while it hung, {quick:.3f} s afterwards")
    _, answers = load.result()
    check_nothing_lost(cluster, answers, [death])
    wait_until(lambda: cluster.metric("weir_worker_deaths_total", node="edge-1", reason="hung") >= 1, what="the metric")
    assert cluster.metric("weir_worker_deaths_total", node="edge-1", reason="died") == 0


def test_a_stopped_edge_is_not_taken_for_hanging_workers(make_cluster):
    """Master and workers stopped together (a suspended machine): when they go on nobody is killed."""
    cluster = make_cluster(edges=1, scanners=1, sets=["worker_watchdog=4s"])
    members = weir.family(cluster.pid("edge-1"))
    with Smtp(cluster.relay()) as client:
        for pid in members:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(5)  # longer than worker_watchdog
        for pid in members:
            os.kill(pid, signal.SIGCONT)
        time.sleep(1.5)
        assert client.command("NOOP").code == 250
    assert weir.family(cluster.pid("edge-1")) == members


def test_reload_does_not_end_a_starting_worker(make_cluster):
    """HUP, and USR1 after a log rotation, reach a worker that has just been forked, too."""
    cluster = make_cluster(edges=1, scanners=1, sets=["edge.workers=2"])
    master = cluster.pid("edge-1")
    wait_until(lambda: "ready: 2 workers accept sessions" in cluster.log("edge-1"), what="both workers")  # the cluster is up with one
    os.kill(workers_of(cluster, "edge-1")[0], signal.SIGKILL)
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        os.kill(master, signal.SIGHUP)
        os.kill(master, signal.SIGUSR1)
        time.sleep(0.0005)
    wait_until(lambda: len(workers_of(cluster, "edge-1")) == 2, what="the successor")
    wait_until(lambda: cluster.log("edge-1").count("accepts sessions") == 3, what="its service")
    assert re.findall(r"was ended by signal (\d+)", cluster.log("edge-1")) == ["9"]


def refused(address):
    """The kernel takes no connection there."""
    try:
        with Smtp(address, greet=False, timeout=5):
            return False
    except ConnectionRefusedError:
        return True


def test_stopping_edge_leaves_no_client_waiting(make_cluster):
    """One worker has a session to finish, the others have none and end; every new client still gets 421 at once, or is refused."""
    cluster = make_cluster(edges=1, scanners=1, sets=["edge.workers=4"])
    with Smtp(cluster.relay()) as client:
        client.envelope()
        assert client.command("DATA").code == 354
        os.kill(cluster.pid("edge-1"), signal.SIGTERM)
        wait_until(lambda: len(workers_of(cluster, "edge-1")) == 1, what="the end of the idle workers")
        for _ in range(40):
            with Smtp(cluster.relay(), timeout=5) as late:
                assert late.greeting.code == 421 and "4.3.2" in late.greeting.text, late.greeting
        client.send(message() + b".\r\n")
        assert client.reply().code == 250
        client.send(b"QUIT\r\n")
        assert client.reply().code == 221
    wait_until(lambda: refused(cluster.relay()), what="refused connections")
    cluster.heal()


def read_late(path):
    """All that is written to a FIFO until its writer closes it."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with open(fd, "rb", buffering=0) as fifo:
        got = b""
        while select.select([fifo], [], [], 30)[0] and (part := fifo.read()):
            got += part
        return got


def test_a_slow_disk_at_the_end_is_no_hanging_worker(make_cluster):
    """What it could not report it writes down, however long that takes; nobody is served by it any more."""
    cluster = make_cluster(edges=1, scanners=1, sets=["worker_watchdog=2s", "edge.workers=1"])
    cluster.stop("coordinator-1")
    assert cluster.send(message(), recipients=["alice@example.edu"]).code == 250
    disk = cluster.dir / "state/edge-1.0.audit.new"
    os.mkfifo(disk)  # takes no byte until somebody reads
    worker, = workers_of(cluster, "edge-1")
    cluster.kill("edge-1", signal.SIGTERM)
    time.sleep(5 + 2 * 2 + 1)  # a coordinator's last chance, two watchdogs
    assert b"alice@example.edu" in read_late(disk)
    wait_until(lambda: weir.process_state(worker) in ("", "Z"), 60, "its end")
    assert "hangs" not in cluster.log("edge-1")


def listening(address):
    """How many sockets take connections there: one for each worker that serves."""
    host, port = address.rsplit(":", 1)
    where = f"{int.from_bytes(socket.inet_aton(host), 'little'):08X}:{int(port):04X}"
    return sum(line.split()[1] == where and line.split()[3] == "0A" for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:])


def test_worker_killed_while_stopping_leaves_no_client_waiting(make_cluster):
    cluster = make_cluster(edges=1, scanners=1, sets=["edge.workers=2"])
    with contextlib.ExitStack() as sessions:
        clients = [sessions.enter_context(Smtp(cluster.relay())) for _ in range(24)]  # some on either worker
        os.kill(cluster.pid("edge-1"), signal.SIGTERM)
        wait_until(lambda: "draining, then ending" in cluster.log("edge-1"), what="the stop")
        os.kill(workers_of(cluster, "edge-1")[0], signal.SIGKILL)
        wait_until(lambda: len(workers_of(cluster, "edge-1")) == 1, what="the worker's end")
        wait_until(lambda: listening(cluster.relay()) == 1, what="the end of its queue")  # who was in there is reset
        for _ in range(20):
            with Smtp(cluster.relay(), timeout=5) as late:
                assert late.greeting.code == 421, late.greeting
        assert len(clients) == 24
    cluster.heal()


def test_closed_doors_survive_a_restart(make_cluster):
    """drain_mode = close: an edge, and a worker, that starts while it is drained takes no connection."""
    cluster = make_cluster(edges=2, scanners=1, sets=["drain_mode=close", "edge.workers=2"])
    cluster.weirctl("drain", "--wait", "edge-1")
    wait_until(lambda: refused(cluster.relay()), what="closed doors")
    wait_until(lambda: "ready: 2 workers accept sessions" in cluster.log("edge-1"), what="both workers")
    for victim in workers_of(cluster, "edge-1"):
        os.kill(victim, signal.SIGKILL)
    wait_until(lambda: cluster.log("edge-1").count("accepts sessions") == 4, what="their successors")
    assert all(refused(cluster.relay()) for _ in range(20))
    cluster.kill("edge-1")
    starting = subprocess.Popen([weir.ROOT / "deploy/cluster", "start", "edge-1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                env=dict(os.environ, WEIR_NO_BUILD="1", WEIR_CLUSTER=str(cluster.dir)))  # returns when the edge serves
    wait_until(lambda: cluster.log("edge-1").count("accepts sessions") == 6, what="the next edge")
    assert all(refused(cluster.relay()) for _ in range(20))
    cluster.weirctl("undrain", "edge-1")
    wait_until(lambda: not refused(cluster.relay()), what="open doors")
    assert starting.wait(30 * weir.PATIENCE) == 0
    assert cluster.send(message()).code == 250


def test_port_of_another_program(make_cluster):
    """SO_REUSEPORT would let two edges share a port without a word."""
    cluster = make_cluster(edges=1, scanners=1)
    command = open(f"/proc/{cluster.pid('edge-1')}/cmdline").read().split("\0")[:-1]
    second = subprocess.run([weir.BIN / "weir-edge", *command[1:]], capture_output=True, text=True, timeout=30 * weir.PATIENCE)
    assert second.returncode == 1, second
    assert "in use" in second.stderr + cluster.log("edge-1")
    banner(cluster)


def test_port_of_a_drained_edge(make_cluster):
    """Its doors are closed, but it opens them again: nobody else may have taken the port meanwhile."""
    cluster = make_cluster(edges=1, scanners=1, sets=["drain_mode=close"])
    command = open(f"/proc/{cluster.pid('edge-1')}/cmdline").read().split("\0")[:-1]
    cluster.weirctl("drain", "--wait", "--force", "edge-1")
    wait_until(lambda: refused(cluster.relay()), what="closed doors")
    second = subprocess.run([weir.BIN / "weir-edge", *command[1:]], capture_output=True, text=True, timeout=30 * weir.PATIENCE)
    assert second.returncode == 1 and "in use" in second.stderr + cluster.log("edge-1"), second
    cluster.weirctl("undrain", "edge-1")
    wait_until(lambda: not refused(cluster.relay()), what="open doors")
    assert cluster.send(message()).code == 250
    cluster.stop("edge-1")
    cluster.start("edge-1")  # connections of the one that ended are not in the way
    wait_until(lambda: not refused(cluster.relay()), what="the next edge")
    assert cluster.send(message()).code == 250


def holds_hup(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return any(int(line.split()[1], 16) & 1 for line in status.splitlines() if line.startswith(("SigBlk", "SigCgt")))


@pytest.mark.parametrize("node, word", [("scanner-1", "HUP"), ("coordinator-1", "reloaded"), ("edge-1", "reloaded")])
def test_a_reload_that_comes_too_early(make_cluster, node, word):
    """A HUP before the program has its handlers waits for them, or would end it."""
    cluster = make_cluster(edges=1, scanners=1)
    command = open(f"/proc/{cluster.pid(node)}/cmdline").read().split("\0")[:-1]
    cluster.stop(node)
    before = len(cluster.log(node))
    with open(cluster.dir / "log" / f"{node}.log", "a") as log:
        process = subprocess.Popen([weir.BIN / pathlib.Path(command[0]).name, *command[1:]], stdout=log, stderr=log)
    try:
        while not holds_hup(process.pid):
            assert process.poll() is None
        os.kill(process.pid, signal.SIGHUP)
        cluster.wait_state(node, "active", seconds=30)
        assert process.poll() is None
        if word == "reloaded":
            wait_until(lambda: word in cluster.log(node)[before:], what="the reload")
    finally:
        process.terminate()
        process.wait(30 * weir.PATIENCE)


def test_a_wrong_reload_changes_nothing(make_cluster):
    """Checked as a whole before anything of it is used."""
    cluster = make_cluster(edges=1, scanners=1)
    command = open(f"/proc/{cluster.pid('edge-1')}/cmdline").read().split("\0")[:-1]
    config = pathlib.Path(next(word for word in command if word.endswith(".conf")))
    before = config.read_text()
    config.write_text(before.replace('[listener "relay"]', '[listener "other"]') + "\n[edge]\nvirus_action = discard\n")
    os.kill(cluster.pid("edge-1"), signal.SIGHUP)
    wait_until(lambda: "the last configuration stays" in cluster.log("edge-1"), what="the refusal")
    assert "reloaded: new sessions" not in cluster.log("edge-1")
    assert cluster.send(message(body=weir.EICAR.decode() + "\r\n")).code == 550
    config.write_text(before)


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
        for _ in range(5):
            until("WATCHDOG=1")
        edge.send_signal(signal.SIGHUP)
        until("RELOADING=1")
        until("READY=1")
        edge.send_signal(signal.SIGTERM)
        until("STOPPING=1")
        assert edge.wait(15 * weir.PATIENCE) == 0
        for node in ("web-1", "scanner-1", "coordinator-1"):
            command = open(f"/proc/{cluster.pid(node)}/cmdline").read().split("\0")[:-1]
            cluster.stop(node)
            one = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=dict(os.environ, NOTIFY_SOCKET=str(tmp_path / "notify")))
            ends.callback(one.wait)
            ends.callback(one.terminate)
            assert set(until("READY=1")) <= {"WATCHDOG=1", "READY=1"}, node  # the edge's last words may still be there
