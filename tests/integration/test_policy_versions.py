"""Which policy an edge has: one of any size, one from a restored database under the same number, one that it cannot use."""
import contextlib
import json
import subprocess
import time

import pytest

from weir import Smtp, message, wait_until, workers_of

OUTSIDE = "127.0.0.2"


def psql(cluster, sql):
    done = subprocess.run(["psql", cluster.env["DATABASE_URL"], "-Atc", sql], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


def first_answer(cluster, recipient, edge=1):
    with Smtp(cluster.relay(edge), source=OUTSIDE) as client:
        return str(client.envelope(recipients=[recipient])[0])


def restart(cluster):
    def serves():
        with contextlib.suppress(OSError):
            return cluster.greets(220)
    cluster.stop("edge-1")
    cluster.start("edge-1")
    wait_until(serves, 30, "the edge is back")


def policy_of(cluster, node="edge-1"):
    """What all of its processes have said to have: 0 while one of them has not said anything, which may be so in a cluster that serves already."""
    return cluster.nodes()[node]["policy_epoch"]


@pytest.mark.sanitized
def test_another_policy_under_the_same_number_is_fetched(make_cluster):
    """As after a backup was restored, or in a database made anew."""
    cluster = make_cluster(edges=1, scanners=1)
    assert "550 5.7.1" in first_answer(cluster, "x@restored.example.net")
    epoch = wait_until(lambda: policy_of(cluster), 30, "a policy that the edge says to have")
    done = psql(cluster, f"UPDATE policy_file SET content = content || E'restored.example.net\\terror:5.2.1:550 restored\\n' "
                         f"WHERE epoch = {epoch} AND name = 'mailertable'")
    assert done == "UPDATE 1"
    wait_until(lambda: "550 5.2.1" in first_answer(cluster, "x@restored.example.net"), 30, "the other policy on the edge")
    wait_until(lambda: policy_of(cluster) == epoch, 30, "its old number")


@pytest.mark.sanitized
def test_a_policy_that_an_edge_cannot_use(make_cluster):
    cluster = make_cluster(edges=1, scanners=1)
    good = wait_until(lambda: policy_of(cluster), 30, "a policy that the edge says to have")
    psql(cluster, f"INSERT INTO policy (epoch, applied_by) VALUES ({good + 1}, 'a newer version');"
                  f"INSERT INTO policy_file SELECT {good + 1}, name, content || CASE name WHEN 'mailertable' THEN E'x.example.net warp:[y]\\n' ELSE '' END "
                  f"FROM policy_file WHERE epoch = {good}")
    processes = len(workers_of(cluster, "edge-1"))
    wait_until(lambda: cluster.metric("weir_node_policy_refused", node="edge-1") == processes, 15, "the refusal in the metrics")
    assert cluster.metric("weir_node_policy_epoch", node="edge-1") == good
    assert f"edge-1 has policy {good}, not {good + 1}" in cluster.weirctl("status").stdout
    assert cluster.send(message()).code == 250, "the last one stays"
    told = cluster.log("edge-1").count(f"policy {good + 1} is not usable here")
    assert told == processes, "said once by each"
    restart(cluster)  # from its cache, which the broken one did not overwrite
    assert cluster.send(message()).code == 250
    cluster.weirctl("policy", "rollback", str(good))
    wait_until(lambda: policy_of(cluster) == good + 2, 15, "the next one")
    wait_until(lambda: cluster.metric("weir_node_policy_refused", node="edge-1") == 0, 15, "the end of the refusal in the metrics")
    for words in ((), ("--force",)):
        refused = cluster.weirctl("policy", "rollback", str(good + 1), *words, check=False)
        assert refused.returncode == 65 and f"edges could not use epoch {good + 1}: mailertable:" in refused.stderr, refused.stderr

    # A release that took two spellings for two domains stored what contradicts itself.
    both = f"b\u00fccher.example.net error:5.2.1:550 first\\nxn--bcher-kva.example.net error:5.2.1:550 second\\n"
    psql(cluster, f"INSERT INTO policy (epoch, applied_by) VALUES ({good + 3}, 'an older version');"
                  f"INSERT INTO policy_file SELECT {good + 3}, name, CASE name WHEN 'mailertable' THEN E'{both}' ELSE '' END || content "
                  f"FROM policy_file WHERE epoch = {good}")
    wait_until(lambda: policy_of(cluster) == good + 3, 30, "it is used")
    doubt = "mailertable:2: error: 'xn--bcher-kva.example.net' has a route already, in line 1"
    assert cluster.log("edge-1").count(f"policy {good + 3} is used as it was stored, and could not be applied any more: {doubt}") == len(workers_of(cluster, "edge-1"))
    assert "5.2.1 <x@xn--bcher-kva.example.net>: first" in first_answer(cluster, "x@xn--bcher-kva.example.net")
    assert "reply      550 5.2.1" in cluster.weirctl("route", "explain", "x@xn--bcher-kva.example.net").stdout
    cluster.weirctl("policy", "rollback", str(good))
    refused = cluster.weirctl("policy", "rollback", str(good + 3), check=False)
    assert refused.returncode == 77 and doubt in refused.stderr and "--force" in refused.stderr, refused.stderr
    assert cluster.weirctl("policy", "diff", str(good)).stdout == "no difference\n"
    cluster.weirctl("policy", "rollback", str(good + 3), "--force")
    assert cluster.weirctl("policy", "diff", str(good + 3)).stdout == "no difference\n"
    wait_until(lambda: policy_of(cluster) == good + 5, 30, "it is used again")
    assert cluster.weirctl("policy", "rollback", "99", check=False).returncode == 65


def test_a_policy_larger_than_a_message_frame(make_cluster):
    cluster = make_cluster(edges=1, scanners=1)
    folder = cluster.dir / "policy"
    (folder / "aliases").write_text("".join(f"user{i}: user.number.{i}@department-{i % 5000}.faculty-of-long-names.example.net\n" for i in range(150_000)))
    assert (folder / "aliases").stat().st_size > 9 << 20
    table = folder / "mailertable"
    table.write_text(table.read_text() + ".example.net\tsmtp:[127.0.0.1]:9\n")
    wait_until(lambda: cluster.weirctl("policy", "apply", str(folder)), 60, "a policy that is taken")  # a second time is no other
    wait_until(lambda: policy_of(cluster) == 2, 60, "the policy on the edge")
    # A coordinator parses all of it for the first question, which may have given up by then.
    explained = wait_until(lambda: json.loads(cluster.weirctl("--json", "route", "explain", "user149999@example.edu").stdout), 60, "what the coordinator says of it")
    assert explained["stands_for"] == "user.number.149999@department-4999.faculty-of-long-names.example.net"
    assert "451" in first_answer(cluster, "user149999@example.edu"), "the edge asks the alias's next hop, which is not there"
    restart(cluster)  # the cache holds it in pieces, too
    assert "451" in first_answer(cluster, "user149999@example.edu")
    assert "is of no use" not in cluster.log("edge-1")
    (folder / "aliases").write_text("a: b\n" + "# a comment of some length\n" * (40 << 20 >> 5))
    done = cluster.weirctl("policy", "apply", str(folder), check=False)
    assert done.returncode == 65 and "policy_size is 33554432" in done.stderr, done.stderr
    wait_until(lambda: (cluster.metric("weir_policy_too_large_total") or 0) == 1, what="the refusal in the metrics")


INTERVAL = 60  # seconds, the longest that both can be set to


def test_a_policy_is_pushed_to_every_edge(make_cluster):
    """Reports and the repeated state come once a minute here: an edge that learned of a policy by either would need some intervals for these."""
    cluster = make_cluster(edges=3, scanners=1, coordinators=2, sets=[f"heartbeat_interval={INTERVAL}s", f"publish_interval={INTERVAL}s", "node_timeout=10m"])
    table = cluster.dir / "policy" / "mailertable"
    base, rounds = table.read_text(), 8
    began = time.monotonic()
    for number in range(rounds):
        table.write_text(f"{base}pushed{number}.example.net\terror:5.2.1:550 pushed\n")
        wait_until(lambda: cluster.weirctl("policy", "apply", str(cluster.dir / "policy")), 60, "a policy that is taken")  # a second time is no other
        for edge in (1, 2, 3):
            wait_until(lambda number=number, edge=edge: "550 5.2.1" in first_answer(cluster, f"x@pushed{number}.example.net", edge), 60, f"policy on edge-{edge}")
    took = time.monotonic() - began
    print(f"{rounds} policies on three edges in {took:.1f} s")
    assert took < (rounds - 2) * INTERVAL, "no waiting for the next report"
