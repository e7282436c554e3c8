"""deploy/patroni as it is delivered: a switchover as operators ask for it, and the primary's machine lost, while devices hand in mail that only the database has."""
import subprocess

import pytest

import patroni
from test_failover import RECIPIENT, Device, hop  # noqa: F401  pylint: disable=unused-import
from weir import wait_until


@pytest.fixture
def database():
    if why := patroni.missing():
        pytest.skip(why)
    made = patroni.Patroni()
    try:
        made.up()
        yield made
    except BaseException:
        print(made.log())
        raise
    finally:
        made.remove()


@pytest.fixture
def cluster(database, make_cluster, hop):  # noqa: F811
    """Its database was moved to the two members, as a site moves that begins to use Patroni: dumped, restored, named in the coordinators' file."""
    made = make_cluster(edges=1, scanners=1, coordinators=2, next_hop=hop.endpoint, sets=["profile=handoff", "next_hop_tls=none", "database_timeout=5s"])
    for name in ("coordinator-1", "coordinator-2"):
        made.stop(name)
    database.wait_whole()
    dump = subprocess.run(["pg_dump", "--no-owner", made.env["DATABASE_URL"]], capture_output=True, text=True, check=True).stdout
    # More than once: libpq tries no other host where a standby has not applied yet what its primary acknowledged, and says there is no such database.
    wait_until(lambda: database.restore(dump), 60, "the database at its new place")
    made.stop("postgres")
    (made.dir / "database").write_text(database.conninfo() + "\n")
    for name in ("coordinator-1", "coordinator-2"):
        made.start(name)
    return made


def goes_on(cluster, device):
    """Returns when both coordinators write again, and mail was taken since."""
    for number in (1, 2):
        wait_until(lambda n=number: cluster.http("/readyz", n)[0] == 200, 60, f"coordinator-{number} has the new primary")
    before = len(device.taken)
    wait_until(lambda: len(device.taken) >= before + 10, 60, "mail goes on")


def test_switchover_and_loss_of_the_primary(cluster, database, hop):  # noqa: F811
    hop.refuse[RECIPIENT] = "450 4.2.0 not yet"  # so nobody has it but the database
    device = Device(cluster, 1, pause=0.2)
    device.start()
    try:
        goes_on(cluster, device)
        print(database.switch(wait_until(database.leader, 60, "a leader")))
        goes_on(cluster, device)
        database.wait_whole()  # the former primary follows
        lost = wait_until(database.leader, 60, "a leader")
        database.kill(lost)
        goes_on(cluster, device)
        database.start(lost)
        database.wait_whole()  # it follows, with what it had alone undone
        goes_on(cluster, device)
        print(database.ctl("list"))
    finally:
        device.ends.set()
        device.join()
    hop.refuse.clear()
    wait_until(lambda: cluster.query("SELECT count(*) FROM spool_message") == [["0"]], 90, "an empty spool")
    bodies = hop.to(RECIPIENT)
    copies = {token: sum(token.encode() in body for body in bodies) for token in device.taken}
    assert set(copies.values()) == {1}, {token: count for token, count in copies.items() if count != 1}
    wait_until(lambda: cluster.metric("weir_conservation_difference") == 0, 30, "conservation")
    print(f"{len(copies)} acknowledged, all there, each once; {device.refused} told to come again; {len(bodies)} delivered")
