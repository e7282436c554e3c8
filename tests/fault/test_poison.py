"""A message that its edge worker dies of, every time: it does not go round for ever, its sender hears of it, and other mail is delivered meanwhile."""
import os
import pathlib
import re
import signal

import pytest

import weir
from hops import Hop, Visit
from weir import Smtp, message, wait_until, workers_of

POISON = "poison@example.edu"


def owner(port, pids):
    """Which of them has the local end of the connection from that port."""
    for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[1].split(":")[1], 16) == port and fields[9] != "0":
            for pid in pids:
                try:
                    if any(os.readlink(fd) == f"socket:[{fields[9]}]" for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir()):
                        return pid
                except OSError:
                    continue  # it, or one of its files, is gone
    return None


class Poisoning(Hop):
    """Whoever brings the poison dies of it, as of a fault of its own, before it has heard an answer."""

    def __init__(self):
        self.cluster, self.crashed = None, []
        super().__init__()
        self.RequestHandlerClass = Crash


class Crash(Visit):
    def wait(self, verb, lines=()):
        if verb == "RCPT" and POISON in lines[0]:
            workers = {pid: edge for edge in ("edge-1", "edge-2") for pid in workers_of(self.server.cluster, edge)}
            pid = owner(self.client_address[1], workers)
            assert pid, f"nobody has {self.client_address}"
            self.server.crashed.append((workers[pid], pid))
            os.kill(pid, signal.SIGSEGV)
            wait_until(lambda: weir.process_state(pid) in ("", "Z"), 60, "the end of a worker")
            raise ConnectionAbortedError
        super().wait(verb, lines)


@pytest.fixture
def hop():
    server = Poisoning()
    yield server
    server.shutdown()
    server.server_close()


def hand_in(cluster, edge, raw, recipient):
    """Until it is taken: the worker that has the session may be the one that dies."""
    def taken():
        with Smtp(cluster.env[f"EDGE_{edge}_HANDOFF"]) as device:
            if device.greeting.code == 220 and [answer.code for answer in device.envelope("sender@example.org", [recipient])] == [250]:
                answer = device.data(raw)
                return answer.code == 250 and answer
        return None
    return wait_until(taken, 60, "an edge that takes mail").queue_id


def test_a_message_that_kills_its_edges(make_cluster, hop):
    cluster = make_cluster(edges=2, scanners=1, next_hop=hop.endpoint, sets=["spool_lease=2s", "spool_retry_min=500ms", "spool_retry_max=1s", "next_hop_tls=none"])
    hop.cluster = cluster
    poison = hand_in(cluster, 1, message(token="poison"), POISON)
    others = 0
    for round_ in range(5):
        wait_until(lambda round_=round_: len(hop.crashed) > round_, 120, "another death")
        for edge in (1, 2):
            hand_in(cluster, edge, message(token=f"other-{others}"), f"other-{others}@example.edu")
            others += 1
    wait_until(lambda: all(hop.to(f"other-{number}@example.edu") for number in range(others)), 120, "all other mail")
    wait_until(lambda: cluster.metric("weir_spool_suspects") == 1, 60, "an operator can see it")
    assert not hop.reports("sender@example.org"), "its life is not over"
    # Five days later. The last lease is to give it up, and not to try it once more.
    cluster.query(f"UPDATE spool_message SET arrived_at = now() - interval '6 days' WHERE id = '{poison}';"
                  f"UPDATE spool_queue SET attend_at = now() WHERE id = '{poison}'")
    report, = wait_until(lambda: hop.reports("sender@example.org"), 120, "the report")
    _, status, _ = report.iter_parts()
    assert status.get_payload()[1]["Final-Recipient"] == f"rfc822; {POISON}" and status.get_payload()[1]["Action"] == "failed"
    wait_until(lambda: cluster.query("SELECT count(*) FROM spool_message") == [["0"]], 60, "an empty spool")
    assert hop.to(POISON) == [] and len(hop.reports("sender@example.org")) == 1
    wait_until(lambda: cluster.metric("weir_conservation_difference") == 0, 60, "conservation")
    print(f"{len(hop.crashed)} deaths of {sorted({edge for edge, _ in hop.crashed})}; {others} other messages; "
          f"{status.get_payload()[1]['Status']} {status.get_payload()[1]['Diagnostic-Code']}")
    assert all(re.search(rf"worker.*{pid}", cluster.log(edge)) for edge, pid in hop.crashed), "and its masters say so"
