"""S10 at its real size: 50 MiB, to the byte, by every way to send it, through sessions that stay small."""
import pathlib
import re

import pytest

from weir import Smtp, digest, message, strip_added, wait_until, workers_of

LIMIT = 52428800  # 50 MiB, the default
GROWTH_KIB = 8 << 10


class Peak:
    """By how much the largest growth of an edge's worker went beyond its size at the start. The kernel keeps the peak, so none is missed."""

    def __init__(self, cluster):
        self.before = {pid: self.status(pid, "VmRSS") for pid in workers_of(cluster, "edge-1")}
        for pid in self.before:
            pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")  # VmHWM begins again at VmRSS

    @staticmethod
    def status(pid, field):
        return int(re.search(rf"^{field}:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M).group(1))

    def kib(self):
        return max(self.status(pid, "VmHWM") - size for pid, size in self.before.items())


def send(client, how, raw):
    assert [answer.code for answer in client.envelope()] == [250]
    return client.data(raw) if how == "DATA" else client.bdat(raw, [1 << 20])


@pytest.mark.parametrize("listener", ["RELAY", "HANDOFF"])
def test_S10_50_mib_and_one_more(make_cluster, listener):
    cluster = make_cluster(edges=1, scanners=1, sets=["edge.workers=1"])
    door = cluster.env[f"EDGE_1_{listener}"]
    fits, beyond = message(token="exactly", size=LIMIT), message(token="beyond", size=LIMIT + 1)
    assert (len(fits), len(beyond)) == (LIMIT, LIMIT + 1)
    with Smtp(door, timeout=240) as client:
        assert f"SIZE {LIMIT}" in client.ehlo.text.split("\n")
        assert client.command(f"MAIL FROM:<> SIZE={LIMIT}").code == 250
        client.command("RSET")
        answer = client.command(f"MAIL FROM:<> SIZE={LIMIT + 1}")
        assert answer.code == 552 and answer.text.startswith("5.3.4"), answer
    for _ in range(8):  # the worker has worked before
        with Smtp(door) as client:
            assert send(client, "DATA", message(size=600000)).code == 250
    wait_until(lambda: cluster.sink.count() == 8, 60, "the small ones")
    for how in ("DATA", "BDAT"):
        with Smtp(door, timeout=240) as client:
            peak = Peak(cluster)
            answer = send(client, how, beyond)
            assert answer.code == 552 and answer.text.startswith("5.3.4"), (how, answer)
            client.command("RSET")
            answer = send(client, how, fits)
            assert answer.code == 250, (how, answer)
        count = 1 + (how == "BDAT")
        found = wait_until(lambda count=count: len(cluster.sink.with_token("X-Token: exactly")) == count and cluster.sink.with_token("X-Token: exactly"), 120,
                           "what fits")
        assert {digest(strip_added(raw)) for raw, _ in found} == {digest(fits)} and not cluster.sink.with_token("X-Token: beyond")
        grown = peak.kib()
        print(f"{listener} {how}: {grown} KiB more at the peak")
        assert grown < GROWTH_KIB, how
    wait_until(lambda: cluster.metric("weir_conservation_difference") == 0, 30, "conservation")
