"""S43: lists of client addresses in the DNS, at a real name server."""
import subprocess
import time

import pytest

import weir
from nameserver import Nameserver
from weir import Smtp, message, wait_until

ZONE = """2.0.0.127.bl.example. A 127.0.0.2
3.0.0.127.bl.example. A 127.0.0.20
4.0.0.127.bl.example. A 127.0.0.3
4.0.0.127.friends.example. A 127.0.0.1
5.0.0.127.full.example. A 127.255.255.254
6.0.0.127.weak.example. A 127.0.0.2
7.0.0.127.weak.example. A 127.0.0.2
7.0.0.127.second.example. A 127.0.0.2
1.0.0.127.bl.example. A 127.0.0.2
"""
LISTS = "bl.example=127.0.0.[2..11]*2, weak.example, second.example, friends.example*-2, full.example, list.silent*9, list.broken*9"


@pytest.fixture(scope="module")
def site():
    names = Nameserver(ZONE)
    made = weir.Cluster(edges=1, scanners=1, sets=[*names.settings(), "edge.workers=1", "ptr_wait=0", f"dnsbl={LISTS}", "dnsbl_threshold=2", "dnsbl_timeout=8s",
                                                   "contact=call 4711"])
    try:
        yield made.up()
    finally:
        made.down()
        names.stop()


@pytest.mark.parametrize("client, lists", [
    ("127.0.0.2", "bl.example"),
    ("127.0.0.3", None),                             # an answer that is not in the pattern
    ("127.0.0.4", None),                             # listed, but a friend
    ("127.0.0.5", None),                             # the list says that it does not serve us
    ("127.0.0.6", None),                             # below the threshold
    ("127.0.0.7", "weak.example, second.example"),
    ("127.0.0.8", None),
    ("127.0.0.1", None),                             # listed, but one of ours
])
def test_S43_lists(site, client, lists):
    with Smtp(site.relay(), source=client) as smtp:
        answer, = smtp.envelope(recipients=["alice@example.edu"])
    if lists:
        assert (answer.code, answer.text) == (550, f"5.7.1 Service unavailable; client [{client}] blocked using {lists} call 4711")
        assert f"from unknown[{client}]: 550 5.7.1 Service unavailable" in site.log("edge-1")
    else:
        assert answer.code == 250


def test_S43_the_postmaster_can_be_told(site):
    assert site.send(message(), source="127.0.0.2", recipients=("postmaster@example.edu",)).code == 250
    assert site.send(message(), source="127.0.0.2", recipients=("abuse@example.edu",)).code == 250


def test_S43_dead_lists_hold_nobody_up(site):
    """Once a minute somebody waits for them, no longer than dnsbl_timeout."""
    for client, code in (("127.0.0.2", 550), ("127.0.0.5", 250), ("127.0.0.9", 250)):
        assert site.send(message(), source=client).code == code
    wait_until(lambda: site.metric("weir_dnsbl_lookups_total", result="timeout"), what="a time-out in the metrics")
    skipped = site.metric("weir_dnsbl_lookups_total", result="skipped") or 0

    def left_out():
        """Two lists, by each message but the one that may come when a minute is over."""
        began = time.monotonic()
        for _ in range(5):
            assert site.send(message(), source="127.0.0.9").code == 250
        print(f"5 messages in {time.monotonic() - began:.2f} s")
        return (site.metric("weir_dnsbl_lookups_total", result="skipped") or 0) >= skipped + 10

    wait_until(left_out, what="two lists that are not asked")
    assert "dnsbl list.silent: no answer in time: not asked for 60 s" in site.log("edge-1")
    for labels in ({"result": "listed"}, {"result": "clean"}, {"result": "error"}, {"result": "failed"}, {"zone": "list.silent", "result": "timeout"}):
        wait_until(lambda: site.metric("weir_dnsbl_lookups_total", **labels), what=str(labels))


def test_S43_a_wrong_list_is_named(tmp_path):
    path = tmp_path / "weir.conf"
    path.write_text("[edge]\ndnsbl = bl.example=127.0.0\n[listener \"relay\"]\n[coordinator \"a\"]\nlisten = tcp://127.0.0.1:1\npublish = tcp://127.0.0.1:2\n"
                    f"public_key = {'0' * 64}\n")
    done = subprocess.run([weir.BIN / "weir-edge", "-c", path, "--name", "edge-1", "-t"], capture_output=True, text=True)
    assert done.returncode != 0
    assert f"{path}:2: error: dnsbl: 'bl.example=127.0.0': expected behind = an address or a pattern, as 127.0.0.[2..11]" in done.stderr


def test_S43_a_silent_list_of_friends_bounces_nobody(site):
    path = site.dir / "sets"
    text = path.read_text()
    assert f"dnsbl={LISTS}\n" in text

    def restart(sets):
        path.write_text(sets)
        site.stop("edge-1")
        site.start("edge-1")
        wait_until(lambda: Smtp(site.relay(), source="127.0.0.8").greeting.code == 220, what="edge-1 again")

    restart(text.replace(f"dnsbl={LISTS}\n", "dnsbl=bl.example*2, weak.example*4, list.broken*-2\n"))
    try:
        for _ in range(2):  # asked, and left out
            with Smtp(site.relay(), source="127.0.0.2") as smtp:
                answer, = smtp.envelope(recipients=["alice@example.edu"])
                assert (answer.code, answer.text[:5]) == (450, "4.7.1"), answer
            with Smtp(site.relay(), source="127.0.0.6") as smtp:  # friends or not
                assert smtp.envelope(recipients=["alice@example.edu"])[0].code == 550
    finally:
        restart(text)
