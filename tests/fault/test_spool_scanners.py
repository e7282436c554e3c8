"""All scanners are gone for a while: handoff takes everything, and after their return everything is scanned before it is delivered."""
import re

from hops import Hop, Visit
from weir import EICAR, check_no_client_noticed, message, wait_until

BACKLOG = 400
NEW = 10


class Pausing(Visit):
    """Once a tenth of the backlog is there, whoever comes with more waits for the gate."""

    def wait(self, verb, lines=()):
        if verb == "MAIL" and len(self.server.taken) >= BACKLOG // 10:
            self.server.waiting += 1
            self.server.gate.wait(300)
        super().wait(verb, lines)


def ids_in_order(hop):
    return [re.search(rb"\bid ([0-9A-Z]{20})\b", body).group(1).decode() for _, _, body in list(hop.taken)]


def test_S15_mail_for_which_there_was_no_scanner(make_cluster):
    """The oldest go first (three of four: the fourth is the newest), and new mail does not wait for the end of the old."""
    hop = Hop()
    hop.RequestHandlerClass = Pausing
    cluster = make_cluster(edges=2, scanners=2, next_hop=hop.endpoint, sets=["profile=handoff", "spool_concurrency=3", "spool_lease=10m"])
    cluster.kill("scanner-1")
    cluster.kill("scanner-2")
    wait_until(lambda: cluster.metric("weir_scanners_live") == 0, 10, "no scanner")
    _, answers = cluster.load("--sessions", 10, "--messages", BACKLOG, "--size", 4096).result()
    check_no_client_noticed(answers)
    bad = [cluster.send(message(EICAR.decode() + "\r\n")) for _ in range(3)]
    assert [answer.code for answer in bad] == [250] * 3
    assert not hop.taken, "nothing unscanned gets out"

    backlog = sorted(answer.queue_id for answer in answers.values())  # ids are in order of time
    cluster.start("scanner-1")
    cluster.start("scanner-2")
    wait_until(lambda: hop.waiting, 60, "the backlog flows")
    new = [cluster.send(message(), edge=1 + number % 2) for number in range(NEW)]
    assert [answer.code for answer in new] == [250] * NEW
    assert len(hop.taken) < BACKLOG // 2, "while it flows"
    hop.gate.set()
    wait_until(lambda: cluster.query("SELECT count(*) FROM spool_message") == [["0"]], 60, "an empty spool")

    order = ids_in_order(hop)
    assert sorted(order) == sorted(backlog + [answer.queue_id for answer in new]), "each of them once, and no virus"
    assert all(body.startswith(b"X-Virus-Scanned: ") for _, _, body in hop.taken)
    log = cluster.log("edge-1") + cluster.log("edge-2")
    assert all(re.search(rf"{answer.queue_id}: to=<alice@example.edu>, .*status=discarded \(Eicar", log, re.I) for answer in bad)
    end = max(order.index(one) for one in backlog)
    behind = [end - order.index(answer.queue_id) for answer in new]
    half = [one for one in order if one in set(backlog)][:BACKLOG // 2]
    oldest = len(set(half) & set(backlog[:BACKLOG // 2]))
    print(f"new mail came {min(behind)} to {max(behind)} messages before the end of the backlog; {oldest} of its first {len(half)} were of its older half")
    assert min(behind) > 0
    assert oldest > 0.6 * len(half)
    hop.shutdown()
    hop.server_close()
