"""I4: memory, sessions and slots have budgets, and what fits is not refused."""
import concurrent.futures
import os
import resource
import signal
import socket
import ssl
import threading
import time

import pytest

import weir
from weir import Smtp, message, wait_until


# One scanner is all there is: where it has no turn for a moment, as this test has the machine, clients are not to hear of it.
PATIENT = "scan_stall=20s"


def memory_by_kind(cluster):
    """{"edge worker": KiB of the largest, ...}: what a process adds to the machine, shared pages divided among those who share them."""
    kinds = {"weir-edge": "edge worker", "weir-scanner": "scanner master", "weir-coordinato": "coordinator"}
    found = {}
    for node in cluster.nodes_here():
        for pid in weir.family(cluster.pid(node)):
            name = weir.process_name(pid)
            kind = kinds.get(name, name)
            if kind == "edge worker" and pid == cluster.pid(node):
                kind = "edge master"
            found[kind] = max(found.get(kind, 0), weir.memory_kib_of(pid))
    return found


@pytest.mark.alone
def test_forty_uploads_of_50_mib(make_cluster):
    """Budgets: an edge worker holds at most message_memory (256 MiB) of message bytes in memory, the rest in unlinked files; a scanner
    holds at most `memory` (512 MiB) in memory, large messages in unlinked files. Workers' own scratch comes on top."""
    cluster = make_cluster(edges=2, scanners=2, sets=["data_rate_grace=10m"])
    raw = message(size=52428800 - 2000)
    wire = raw + b".\r\n"
    expected = weir.digest(raw)
    answers = [None] * 40
    peak, peak_by_kind = {"edge-1": 0, "edge-2": 0, "scanner-1": 0, "scanner-2": 0}, {}
    done = threading.Event()

    def watch():
        while not done.wait(0.5):
            for node in peak:
                peak[node] = max(peak[node], weir.memory_kib(cluster.pid(node)))
            for kind, kib in memory_by_kind(cluster).items():
                peak_by_kind[kind] = max(peak_by_kind.get(kind, 0), kib)

    def upload(number):
        with Smtp(cluster.relay(1 + number % 2), timeout=900) as client:
            client.envelope(parameters=" SIZE=52428800" if number % 4 else "")
            if client.command("DATA").code == 354:
                client.send(wire)
                answers[number] = client.reply()

    started = time.monotonic()
    watcher = threading.Thread(target=watch)
    watcher.start()
    threads = [threading.Thread(target=upload, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    watcher.join()
    print(f"40 messages of 50 MiB in {time.monotonic() - started:.0f} s; largest while that went on, in MiB, "
          f"of nodes: { {node: kib // 1024 for node, kib in peak.items()} }; of one process: { {kind: kib // 1024 for kind, kib in peak_by_kind.items()} }")
    assert [answer and answer.code for answer in answers] == [250] * 40, [answer for answer in answers if not answer or answer.code != 250][:3]
    assert cluster.sink.count() == 40
    for kind in ("memory", "disk"):
        wait_until(lambda kind=kind: cluster.metric("weir_message_bytes", kind=kind) == 0, what=f"no message bytes of kind {kind} any more")
    for path in cluster.sink.files():
        assert weir.digest(weir.strip_added(path.read_bytes())) == expected, path
    assert max(peak["edge-1"], peak["edge-2"]) < 640 * 1024, "an edge: two workers of 256 MiB and themselves"
    assert max(peak["scanner-1"], peak["scanner-2"]) < 1536 * 1024, "a scanner: 512 MiB of messages, workers and their scratch"


@pytest.mark.alone
@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
def test_ten_thousand_idle_sessions(make_cluster, tls):
    """Sessions after EHLO that say nothing more. Memory is the processes' own (Pss), without the kernel's socket buffers."""
    count = 10000 if not weir.SANITIZED else 500
    room = resource.getrlimit(resource.RLIMIT_NOFILE)
    if room[1] < count + 200:
        pytest.skip(f"{count} sessions need as many open files, {room[1]} are allowed")
    cluster = make_cluster(edges=1, scanners=1, sets=[PATIENT])
    context = ssl.create_default_context(cafile=cluster.env["CA_FILE"])
    host, port = cluster.relay().rsplit(":", 1)
    resource.setrlimit(resource.RLIMIT_NOFILE, (room[1], room[1]))
    idle = []

    def opened(number):
        sock = socket.create_connection((host, int(port)), 60, source_address=(f"127.0.1.{number % 200 + 1}", 0))
        said = sock.recv(4096)
        for words in (b"EHLO idle.example.org\r\n", *([b"STARTTLS\r\n"] if tls else [])):
            assert said.startswith(b"2"), said
            sock.sendall(words)
            said = sock.recv(4096)
        assert said.startswith(b"2"), said
        if tls:
            sock = context.wrap_socket(sock, server_hostname="localhost")
            sock.sendall(b"EHLO idle.example.org\r\n")
            assert sock.recv(4096).startswith(b"250")
        idle.append(sock)

    def open_until(number):
        with concurrent.futures.ThreadPoolExecutor(4) as pool:  # client and edge work at the same time
            list(pool.map(opened, range(len(idle), number)))
    try:
        open_until(100)  # what a worker needs once
        before, started = weir.memory_kib(cluster.pid("edge-1")), time.monotonic()
        open_until(count)
        took, each = time.monotonic() - started, (weir.memory_kib(cluster.pid("edge-1")) - before) / (count - 100)
        started = time.monotonic()
        assert cluster.send(message()).code == 250
        print(f"{count} idle sessions{' under TLS' if tls else ''}: {each:.2f} KiB each, made in {took:.1f} s; "
              f"a mail among them: {(time.monotonic() - started) * 1000:.1f} ms")
        wait_until(lambda: cluster.metric("weir_smtp_sessions", node="edge-1") == count, what="the metric")
        assert weir.SANITIZED or each < (32 if tls else 4)
    finally:
        for sock in idle:
            sock.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, room)
    wait_until(lambda: cluster.metric("weir_smtp_sessions", node="edge-1") == 0, what="the end of all sessions")
    assert cluster.send(message()).code == 250


def test_slow_clients_do_not_hold_scanner_slots(make_cluster):
    """More slow uploads than slots, each large enough to be streamed: fast mail still gets through."""
    cluster = make_cluster(edges=1, scanners=1, sets=["scanner.slots=8", PATIENT])
    slow = []
    try:
        for _ in range(30):
            client = Smtp(cluster.relay())
            slow.append(client)
            client.envelope()
            assert client.command("DATA").code == 354
            client.send(message(size=600000))
        for _ in range(20):
            assert cluster.send(message()).code == 250
        for client in slow:
            client.send(b".\r\n")
        codes = [client.reply().code for client in slow]
        assert codes == [250] * 30, codes
    finally:
        for client in slow:
            client.close()


def signal_scan_workers(cluster, how):
    """SIGSTOP instead of a message that takes long: the slot is held exactly as long as the test wants."""
    for pid in weir.family(cluster.pid("scanner-1")):
        if weir.comm(pid) in ("weir-scan-small", "weir-scan-large"):
            os.kill(pid, how)


def test_full_farm_says_421_and_only_then(make_cluster):
    cluster = make_cluster(edges=1, scanners=1, sets=["scanner.slots=1", "scan_wait=1s", "scan_stall=60s", "scanner.workers=1", "large_workers=1"])
    with Smtp(cluster.relay(), timeout=120) as busy:
        signal_scan_workers(cluster, signal.SIGSTOP)
        try:
            busy.envelope()
            busy.command("DATA")
            busy.send(message() + b".\r\n")
            wait_until(lambda: cluster.metric("weir_scanner_slots", state="running") == 1, 10, "the one slot in use")
            for size in (None, 3 << 20):  # in one frame, and as an upload
                started = time.monotonic()
                with Smtp(cluster.relay()) as client:
                    if client.greeting.code == 421:
                        answer = client.greeting
                    else:
                        client.envelope()
                        answer = client.data(message(size=size))
                    assert answer.code == 421 and answer.text.startswith("4.7.0"), answer
                    assert client.closed()
                print(f"421 after {time.monotonic() - started:.2f} s")
                assert time.monotonic() - started < 10 * weir.PATIENCE
            # Who comes while it stays full hears it at once, before an upload.
            wait_until(lambda: Smtp(cluster.relay()).greeting.text.startswith("4.7.0"), 10, "421 4.7.0 at connect")
        finally:
            signal_scan_workers(cluster, signal.SIGCONT)
        assert busy.reply().code == 250
    assert wait_until(lambda: cluster.send(message()).code == 250, 10, "mail flows again")


def test_two_thousand_idle_sessions(make_cluster):
    """10,000 are measured by the benchmark; here the point is that they cost little and hinder nobody."""
    cluster = make_cluster(edges=1, scanners=1, sets=[PATIENT])
    before = weir.memory_kib(cluster.pid("edge-1"))
    room = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(room[1], 4096), room[1]))
    idle = []
    try:
        for _ in range(2000):
            idle.append(Smtp(cluster.relay()))
        each = (weir.memory_kib(cluster.pid("edge-1")) - before) / len(idle)
        print(f"{each:.1f} KiB per idle session")
        assert cluster.send(message()).code == 250
        assert all(client.command("NOOP").code == 250 for client in idle[::100])
        assert each < 64
    finally:
        for client in idle:
            client.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, room)


def test_message_budget_is_452_before_it_is_memory(make_cluster):
    cluster = make_cluster(edges=1, scanners=1, sets=["message_disk=2MiB", "workers=1"])
    answer = cluster.send(message(size=8 << 20))
    assert answer.code == 452 and answer.text.startswith("4.3.1"), answer
    assert cluster.send(message(size=1 << 20)).code == 250
