"""Fixtures: `cluster` is one standard cluster per test file; `make_cluster` starts others with own options."""
import os
import shutil
import signal
import sys
import tempfile

import pytest

import pg
import weir


def pytest_configure(config):
    config.addinivalue_line("markers", "sanitized: also run on sanitizer builds")
    config.addinivalue_line("markers", "alone: loads the machine and measures what clients notice, so nothing runs beside it")
    # A run that is asked to end takes its clusters down: fixtures are finished on an exception, not on a signal.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    # The psql in Debian's usual place is a Perl program that looks for the right one: five times the work, and tests ask again and again.
    if not hasattr(config, "workerinput"):
        os.environ["PATH"] = f"{pg.programs()}:{os.environ['PATH']}"
    # Where deploy/cluster keeps a new data folder of PostgreSQL for those that come later. One for all workers of xdist.
    if "WEIR_POSTGRES_TEMPLATE" not in os.environ:
        folder = tempfile.mkdtemp(prefix="weir-template.")
        os.chmod(folder, 0o755)
        if pg.account() is not None:
            os.chown(folder, pg.account().pw_uid, pg.account().pw_gid)
        os.environ["WEIR_POSTGRES_TEMPLATE"] = folder
        config.add_cleanup(lambda: (os.environ.pop("WEIR_POSTGRES_TEMPLATE"), shutil.rmtree(folder, ignore_errors=True)))


# Files that take longest. Whole files are given out in the order of collection, and one of these at the end would run alone.
LONGEST = ["spool_crashes", "patroni", "network", "spool", "interop", "spool_trouble", "policy", "coordinator", "relay", "port_25", "admin", "corpus", "cluster", "policy_versions",
           "spool_conversations", "upgrade", "accounting", "spool_hops", "random", "dashboard", "state", "spool_random", "edge_master", "lagging", "coordinators", "scanners", "failover", "outage"]


def pytest_collection_modifyitems(items):
    rank = {f"test_{name}": number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


@pytest.fixture(scope="module")
def cluster():
    made = weir.Cluster(edges=2, scanners=2)
    try:
        yield made.up()
    finally:
        made.down()


@pytest.fixture
def make_cluster():
    made = []

    def start(**options):
        made.append(weir.Cluster(**options))
        return made[-1].up()

    yield start
    for one in made:
        one.down()


@pytest.fixture(scope="session")
def corpus():
    """The folder of real mail and vectors; tests that need it are skipped without it."""
    folder = os.environ.get("WEIR_CORPUS")
    if not folder:
        pytest.skip("WEIR_CORPUS is not set: no real mail and no vectors here")
    return folder
