"""PostgreSQL's disk is full, the whole database's: a file system of its own. (Its log is elsewhere, as it should be: without that PostgreSQL stops.)"""
import collections
import contextlib
import os
import re
import subprocess
import tempfile

import pytest

from hops import Hop
from weir import Smtp, message, wait_until


@pytest.fixture
def small_disk():
    """A folder on a file system of its own."""
    if os.getuid() != 0:
        pytest.skip("mounting needs root")
    folder = tempfile.mkdtemp(prefix="weir-small-")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], check=False, capture_output=True).returncode != 0:
        os.rmdir(folder)
        pytest.skip("no tmpfs can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=False)
    os.rmdir(folder)


def move_database(cluster, folder):
    subprocess.run(["chown", "postgres:", folder], check=True)
    cluster.query(f"CREATE TABLESPACE small LOCATION '{folder}'")
    for name in ("coordinator-1", "web-1"):
        cluster.stop(name)
    other = cluster.env["DATABASE_URL"].replace("/weir?", "/postgres?")
    subprocess.run(["psql", other, "-Xqc", "ALTER DATABASE weir SET TABLESPACE small"], check=True)
    for name in ("coordinator-1", "web-1"):
        cluster.start(name)
    wait_until(lambda: cluster.http("/readyz")[0] == 200, 20, "readyz")


class Ballast:
    def __init__(self, folder):
        self.folder = folder

    def fill(self, leave):
        with open(f"{self.folder}/ballast", "wb", buffering=0) as file:
            room = os.statvfs(self.folder)
            os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - leave)

    def fill_up(self):
        """To the last page."""
        with open(f"{self.folder}/more", "wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))

    def drop(self):
        for name in ("ballast", "more"):
            os.unlink(f"{self.folder}/{name}")


def answer_to_mail(cluster):
    with Smtp(cluster.relay()) as client:
        return client.command("MAIL FROM:<sender@example.org>")


def stored(cluster):
    return {row[0] for row in cluster.query("SELECT id FROM spool_message")}


def test_a_full_disk(make_cluster, small_disk):
    """452 and nothing half-stored. With room again everything goes on by itself: each message arrives, and a second time only where that was said."""
    hop, ballast = Hop(), Ballast(small_disk)
    cluster = make_cluster(edges=1, scanners=1, next_hop=hop.endpoint, sets=["profile=handoff", "spool_lease=3s", "spool_retry_max=1s"])
    move_database(cluster, small_disk)
    hop.refuse["alice@example.edu"] = "450 4.2.1 later"
    # The coordinator was away a moment ago: a worker that has not found it again says 451 for a while.
    answers = cluster.load("--sessions", 10, "--messages", 300, "--size", 500, "--retry", "--retry-for", 120).result()[1].values()
    accepted = stored(cluster)
    assert len(answers) == 300 and all(answer.code == 250 for answer in answers) and {answer.queue_id for answer in answers} <= accepted
    ballast.fill(2 << 20)
    for _ in range(20):
        answer = cluster.send(message(size=200000))
        if answer.code != 250:
            break
        accepted.add(answer.queue_id)
    assert answer.code == 452 and answer.text.startswith("4.3.1"), answer
    assert stored(cluster) == accepted, "nothing is half-stored"
    assert cluster.query("SELECT count(*) FROM spool_body WHERE id NOT IN (SELECT id FROM spool_message)") == [["0"]]

    def refused_at_mail():
        early = answer_to_mail(cluster)
        if early.code == 452:
            return early.text.startswith("4.3.1")
        answer = cluster.send(message(size=200000))  # taken, or it finds out; claims find out for themselves, too
        if answer.code == 250:
            accepted.add(answer.queue_id)
        return False

    wait_until(refused_at_mail, 60, "once one has found out, others hear it before they send a message")
    ballast.fill_up()
    hop.refuse.clear()
    # Which of them meets the last page first is PostgreSQL's business.
    signs = "results not taken: 53100", "nothing can be leased: 53100"
    wait_until(lambda: any(sign in cluster.log("coordinator-1") for sign in signs) or not stored(cluster), 15, "no room for deliveries, or they are done")
    ballast.drop()
    wait_until(lambda: not stored(cluster), 60, "all is delivered")
    wait_until(lambda: cluster.send(message()).code == 250, 30, "mail is taken again")
    ids = collections.Counter(re.search(rb"\bid ([0-9A-Z]{20})\b", body).group(1).decode() for body in hop.to("alice@example.edu"))
    foretold = collections.Counter(re.findall(r"([0-9A-Z]{20}): [^\n]*second copy", cluster.log("edge-1")))
    print(f"{ids.total()} copies of {len(accepted)} messages")
    assert accepted <= set(ids) and not [one for one, times in ids.items() if times > 1 + foretold[one]]
    wait_until(lambda: cluster.metric("weir_conservation_difference") == 0, 15, "conservation")
    hop.shutdown()
    hop.server_close()
