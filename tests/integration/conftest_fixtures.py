"""Fixtures: `cluster` is one standard cluster per test file; `make_cluster` starts others with own options."""
import os
import signal
import sys

import pytest

import weir


def pytest_configure(config):
    config.addinivalue_line("markers", "sanitized: also run on sanitizer builds")
    # A run that is asked to end takes its clusters down: fixtures are finished on an exception, not on a signal.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))


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
