"""Scanners that hang, lie, answer late, or die of a message: nothing unscanned passes, and mail goes on where one is left."""
import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import time

import pytest

import weir
from weir import EICAR, Smtp, message, wait_until, workers_of


def hang_scan_workers(cluster, node="scanner-1"):
    """Stops every scan worker of the scanner and returns them."""
    workers = [pid for pid in workers_of(cluster, node) if weir.process_name(pid).startswith("weir-scan-")]
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    return workers


def hand_in(client, raw):
    """Everything up to the final dot; the answer is still to come."""
    client.envelope()
    assert client.command("DATA").code == 354
    client.send(raw + b".\r\n")


def generation_of(cluster):
    return json.loads(cluster.weirctl("--json", "node", "show", "scanner-1").stdout)["generation"]


def replace_generation(cluster):
    """The scanner gets a new generation while the old one still has work."""
    before = generation_of(cluster)
    cluster.weirctl("gc", "scanner-1")
    wait_until(lambda: generation_of(cluster) > before, 30, "the new generation")


def test_late_answer_of_an_old_generation(make_cluster):
    """It counts for the message that it is about, however much younger the present generation is, and for no other (I2)."""
    cluster = make_cluster(edges=1, scanners=1, sets=["scanner.workers=1", "large_workers=1"])
    with Smtp(cluster.relay()) as bad, Smtp(cluster.relay()) as clean:
        old = hang_scan_workers(cluster)
        hand_in(bad, message(EICAR.decode() + "\r\n"))
        wait_until(lambda: cluster.metric("weir_scans_in_flight", node="edge-1") == 1, what="the scan has begun")
        replace_generation(cluster)
        hand_in(clean, message())
        assert clean.reply().code == 250, "the new generation works beside the one that hangs"
        for pid in old:
            os.kill(pid, signal.SIGCONT)
        answer = bad.reply()
    assert answer.code == 550 and "EICAR" in answer.text.upper(), answer
    assert cluster.sink.count() == 1


@pytest.mark.parametrize("setting", ["scan_timeout=2s", "scan_time=2s"])
def test_hanging_scan_worker(make_cluster, setting):
    """Its edge gives up, or its scanner ends it: the message is unknown, which is never clean, and what comes after finds a worker (I2)."""
    cluster = make_cluster(edges=1, scanners=1, sets=["scanner.workers=1", "large_workers=1", setting])
    with Smtp(cluster.relay()) as client:
        old = hang_scan_workers(cluster)
        hand_in(client, message())
        answer = client.reply()
        assert answer.code // 100 == 4, answer
        replace_generation(cluster)
        for pid in old:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        # On a slow machine that may take its two seconds, too, and is then unknown as well; at some time it is found out.
        wait_until(lambda: cluster.send(message(EICAR.decode() + "\r\n")).code == 550, 30, "a worker for what comes after")
    wait_until(lambda: (cluster.metric("weir_scan_unknown_total", reason="timeout", node="edge-1") or 0) >= 1, what="the metric")
    assert cluster.sink.count() == 0


@pytest.mark.sanitized
def test_unscanned_by_name_only(make_cluster):
    cluster = make_cluster(edges=1, scanners=1, scan="off")
    cluster.kill("scanner-1")
    assert cluster.send(message()).code == 250
    assert "none" in wait_until(lambda: cluster.weirctl("trace", "sender@example.org").stdout, what="the audit")


# What the edge counts of each. The last is over once it has died; the others may be asked again and again.
MISBEHAVIOUR = {
    "--busy": "weir_scan_busy_total", "--silent": "weir_scan_replays_total", "--wrong-id": "weir_scan_answers_dropped_total",
    "--wrong-size": "weir_scan_answers_dropped_total", "--late": "weir_scan_replays_total", "--garbage": "weir_scan_answers_dropped_total",
    "--never-read": "weir_scan_replays_total", "--die-after=3": "weir_scan_replays_total",
}


@pytest.mark.parametrize("mode", MISBEHAVIOUR)
def test_misbehaving_scanner(make_cluster, mode):
    """One scanner of two lies, hangs or is full: everything still gets its true verdict from the other (I2)."""
    cluster = make_cluster(edges=1, scanners=2, sets=["edge.workers=1"])  # with one the gauge says what all of it knows
    cluster.kill("scanner-2")
    wait_until(lambda: cluster.metric("weir_scanners_live", node="edge-1") == 1, 30, "the edge without the scanner that was")
    before = cluster.metric(MISBEHAVIOUR[mode], node="edge-1")
    fake = subprocess.Popen([weir.BIN / "weir-fake-scanner", "-c", cluster.dir / "scanner-2/weir.conf", "--name", "scanner-2", *mode.split("=")],
                            stderr=subprocess.PIPE)

    def seen():
        return cluster.metric(MISBEHAVIOUR[mode], node="edge-1") > before and (not mode.startswith("--die") or fake.poll() is not None)
    try:
        wait_until(lambda: cluster.metric("weir_scanners_live", node="edge-1") == 2, 30, "the fake scanner among the edge's")
        rounds = 0
        until = time.monotonic() + 60 * weir.PATIENCE
        while rounds < 4 or not seen() and time.monotonic() < until:
            answer = cluster.send(message(EICAR.decode() + "\r\n"))
            assert answer.code == 550, answer
            assert cluster.send(message(size=4096)).code == 250
            assert cluster.send(message(size=700000)).code == 250
            rounds += 1
        assert seen(), f"after {rounds} rounds nobody saw it misbehave"
    finally:
        fake.kill()
        fake.wait()
    assert cluster.sink.count() == 2 * rounds
    assert not [1 for raw, _ in cluster.sink.messages() if EICAR in raw]


def test_only_scanner_lies(make_cluster):
    """With nobody else to ask, a wrong answer is never a clean one."""
    cluster = make_cluster(edges=1, scanners=1, sets=["edge.workers=1", "scan_wait=3s", "scan_timeout=5s"])  # with one worker the gauge says what all of it knows
    cluster.kill("scanner-1")
    for mode in ("--wrong-size", "--wrong-id", "--garbage", "--silent", "--late"):
        wait_until(lambda: cluster.metric("weir_scanners_live", node="edge-1") == 0, 30, "the edge without the scanner that was, and all that it counted of it")
        counted = cluster.metric(MISBEHAVIOUR[mode], node="edge-1")
        fake = subprocess.Popen([weir.BIN / "weir-fake-scanner", "-c", cluster.dir / "scanner-1/weir.conf", "--name", "scanner-1", mode],
                                stderr=subprocess.PIPE)
        answers = []

        def seen():
            answers.append(cluster.send(message()))
            return cluster.metric(MISBEHAVIOUR[mode], node="edge-1") > counted
        try:
            wait_until(lambda: cluster.metric("weir_scanners_live", node="edge-1") == 1, 30, f"the fake scanner {mode}")
            wait_until(seen, 30, f"{mode} in the metrics")
        finally:
            fake.kill()
            fake.wait()
        assert all(400 <= answer.code < 500 for answer in answers), (mode, answers)
    assert cluster.sink.count() == 0


def test_message_that_kills_workers_is_unscannable(make_cluster):
    """Two workers on two scanners die on it: an operator finds it in the quarantine, nobody else gets it, and the farm lives."""
    cluster = make_cluster(edges=1, scanners=2, sets=["scan_timeout=10m", "scan_time=10m"])
    hanging = {node: hang_scan_workers(cluster, node) for node in ("scanner-1", "scanner-2")}  # whoever is given it keeps it until it is killed

    def scanning():
        return next((node for node in hanging if cluster.metric("weir_scanner_slots", node=node, state="running") == 1), None)

    with Smtp(cluster.relay(), timeout=120) as client:
        hand_in(client, message())
        while hanging:
            for pid in hanging.pop(wait_until(scanning, 30, f"its scan on {' or '.join(hanging)}")):
                os.kill(pid, signal.SIGKILL)
        answer = client.reply()
    assert answer.code == 250, answer
    assert cluster.sink.count() == 0
    assert "quarantined:unscannable" in wait_until(lambda: cluster.weirctl("trace", answer.queue_id).stdout, 30, "its trace")
    assert answer.queue_id in cluster.weirctl("quarantine", "list", "--reason", "unscannable").stdout
    assert "1 copy in the quarantine could not be scanned" in cluster.weirctl("status").stdout
    assert f"{answer.queue_id}: not scanned for viruses (unknown:unscannable), to be kept in the quarantine" in cluster.log("edge-1")
    wait_until(lambda: cluster.send(message()).code == 250, 30, "mail flows")
    wait_until(lambda: cluster.metric("weir_scan_unknown_total", reason="unscannable"), what="the metric")


def test_S67_who_floods_waits_behind_himself(make_cluster):
    """Whatever one network has waiting at a scanner, another's message is among the next; with all slots taken it gets one of the flood's (S67)."""
    cluster = make_cluster(edges=1, scanners=1, sets=["edge.workers=1", "scanner.workers=1", "large_workers=1", "slots=12", "scan_wait=5m", "scan_time=5m",
                                                             "scan_timeout=10m", "source_prefix4=24"])
    with contextlib.ExitStack() as sessions:
        flood = [sessions.enter_context(Smtp(cluster.relay(), f"127.0.0.{3 + number % 2}")) for number in range(16)]
        other, third = (sessions.enter_context(Smtp(cluster.relay(), client)) for client in ("127.0.1.4", "127.0.2.4"))
        hanging = hang_scan_workers(cluster)
        for client in flood:
            hand_in(client, message())
        wait_until(lambda: cluster.metric("weir_scans_in_flight", node="edge-1") == len(flood), 30, "all of the flood at the edge")
        wait_until(lambda: cluster.metric("weir_scanner_slots", node="scanner-1", state="queued") >= 11, 30, "every slot taken")
        assert cluster.metric("weir_scans_spare_total", node="scanner-1") == 0, "who has another address there is no other source"
        hand_in(other, message())
        wait_until(lambda: cluster.metric("weir_scans_dropped_total", node="scanner-1", why="gave_way") >= 1, 30, "one of the flood gives way")
        wait_until(lambda: cluster.metric("weir_scans_spare_total", node="scanner-1") == 1, 30, "the spare worker, which the flood cannot have, is the other's")
        wait_until(lambda: cluster.metric("weir_scanner_slots", node="scanner-1", state="running") == 2, 30, "it runs beside one of the flood's")
        hand_in(third, message())
        wait_until(lambda: cluster.metric("weir_scans_dropped_total", node="scanner-1", why="gave_way") >= 2, 30, "one more gives way")
        os.kill(next(pid for pid in hanging if weir.process_name(pid) == "weir-scan-small"), signal.SIGCONT)
        answers = [third.reply()]  # while the other worker still hangs
        done = wait_until(lambda: answers[0].queue_id in (found := re.findall(r"([0-9A-Z]{20}): verdict=", cluster.log("scanner-1"))) and found, 30, "its verdict")
        assert done.index(answers[0].queue_id) == 1, "it is behind the one that this worker had, and no other"
        for pid in hanging:
            os.kill(pid, signal.SIGCONT)
        answers += [client.reply() for client in [*flood, other]]
    assert {answer.code for answer in answers} == {250}, answers
