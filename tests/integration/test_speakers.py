"""weirctl trace says who ended a spooled message: the next hop, the edge, an operator, or time."""
import json

import pytest

import weir
from hops import Hop
from weir import EICAR, Smtp, message, wait_until


@pytest.fixture(scope="module")
def told():
    """Handoff: all mail goes through the spool. hop.test goes to a next hop that does as it is told, loop.test back to the edge."""
    hop = Hop()
    made = weir.Cluster(edges=1, scanners=1, sets=["profile=handoff", "edge.workers=1", "next_hop_tls=none"])
    try:
        made.up()
        made.hop = hop
        table = made.dir / "policy" / "mailertable"
        table.write_text(table.read_text() + f"hop.test smtp:[127.0.0.1]:{hop.server_address[1]}\nloop.test smtp:[127.0.0.1]:{made.relay().rpartition(':')[2]}\n")
        made.apply_policy()
        yield made
    finally:
        made.down()
        hop.gate.set()
        hop.shutdown()
        hop.server_close()


def hand_in(cluster, recipient, raw=None):
    with Smtp(cluster.relay()) as client:
        answer, = client.envelope(sender="sender@example.edu", recipients=[recipient])
        assert answer.code == 250, answer
        answer = client.data(raw or message())
    assert answer.code == 250 and answer.queue_id, answer
    return answer.queue_id


def row_of(cluster, ident):
    row, = json.loads(cluster.weirctl("--json", "trace", ident, check=False).stdout or "[{}]")
    return row


def ended(cluster, ident, disposition, seconds=60):
    """The row, when it says so, and the page for people."""
    wait_until(lambda: row_of(cluster, ident).get("disposition") == disposition, seconds, f"{disposition} in the audit")
    return row_of(cluster, ident), cluster.weirctl("trace", ident).stdout


def has_no_next_hop(row, page):
    assert (row["next_hop"], row["next_hop_reply"]) == ("", ""), row
    assert "next hop" not in page.replace("no next hop said so, but this cluster: ", "") and "no next hop said so, but this cluster: " in page, page


@pytest.mark.sanitized
def test_the_next_hop(told):
    told.hop.refuse["nobody@hop.test"] = "550 5.1.1 no such user"
    row, page = ended(told, hand_in(told, "nobody@hop.test"), "bounced")
    assert row["next_hop_reply"] == "550 5.1.1 no such user" and row["verdict"] == "clean", row
    assert "said: 550 5.1.1 no such user" in page and ", which said: 550 5.1.1 no such user" in page, page
    assert row["attempts"][-1]["own"] is False and "answered" not in page, "the client heard 250"
    row, page = ended(told, hand_in(told, "alice@example.edu"), "delivered")
    assert row["next_hop_reply"].startswith("250 ") and ", which said: 250 " in page and "answered" not in page, (row, page)


@pytest.mark.sanitized
def test_the_edge_found_no_host(told):
    row, page = ended(told, hand_in(told, "x@loop.test"), "bounced:next-hop")
    has_no_next_hop(row, page)
    assert row["reply"].startswith("554 5.4.6 ") and row["attempts"][-1]["own"] is True, row
    assert ", by its own word: 554 5.4.6 " in page, page


@pytest.mark.sanitized
def test_an_operator(told):
    told.hop.refuse["full@hop.test"] = "452 4.2.2 full"
    ident = hand_in(told, "full@hop.test")
    wait_until(lambda: row_of(told, ident).get("attempts"), 60, "a first attempt")
    # Between two tries: what the edge has at this moment is left alone.
    wait_until(lambda: told.weirctl("queue", "bounce", ident, check=False).stdout.startswith("1 changed"), 30, "it is bounced")
    row, page = ended(told, ident, "bounced:operator")
    has_no_next_hop(row, page)
    assert row["reply"] == "554 5.0.0 Returned by the postmaster before it was delivered", row
    assert [one["own"] for one in row["attempts"]][0] is False and row["attempts"][-1]["own"] is True, row
    assert "), which said" not in page and ", which said: 452 4.2.2 full" in page and ", by its own word: 554 5.0.0 Returned" in page, page


@pytest.mark.sanitized
def test_time(make_cluster):
    """The last words of the next hop, and that it was time that made an end."""
    hop = Hop()
    hop.refuse["late@example.edu"] = "452 4.2.2 still full"
    try:
        cluster = make_cluster(edges=1, scanners=1, next_hop=hop.endpoint,
                               sets=["profile=handoff", "next_hop_tls=none", "spool_life=4s", "spool_delay_warning=4s", "spool_retry_max=1s"])
        row, page = ended(cluster, hand_in(cluster, "late@example.edu"), "bounced:expired", 120)
        assert row["next_hop_reply"] == "452 4.2.2 still full" and "said: 452 4.2.2 still full" in page, (row, page)
    finally:
        hop.shutdown()
        hop.server_close()


@pytest.mark.sanitized
def test_a_virus_found_in_the_spool(told):
    told.stop("scanner-1")
    unscanned = wait_until(lambda: row_of(told, hand_in(told, "alice@example.edu")).get("verdict") == "", 60, "mail that nobody scans")
    assert unscanned
    ident = hand_in(told, "alice@example.edu", message(EICAR.decode() + "\r\n"))
    told.start("scanner-1")
    row, page = ended(told, ident, "discarded:virus")
    has_no_next_hop(row, page)
    assert row["verdict"] == "bad" and row["signature"] and row["scanner"] == "scanner-1" and row["engine"], row
    assert f"verdict   bad {row['signature']}, by scanner-1 (" in page and "not reached" not in page, page
