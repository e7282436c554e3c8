"""The README's table "What happens when": every row of it is shown by tests, which are named here and exist."""
import ast
import re

import pytest

from weir import ROOT

# What a row of the table begins with, and by what it is shown: a test, or all those of a file.
SHOWN = {
    "a scanner dies, hangs or drains": [
        "fault/test_faults.py::test_lost_behind_the_edges_is_not_noticed", "fault/test_faults.py::test_scanner_lost_mid_message",
        "fault/test_faults.py::test_S12_housekeeping_is_invisible", "fault/test_scanners.py::test_misbehaving_scanner"],
    "every scanner is full or gone": [
        "fault/test_faults.py::test_S13_no_scanner_no_mail_and_back_within_a_second", "fault/test_bounds.py::test_full_farm_says_421_and_only_then",
        "fault/test_spool_scanners.py::test_S15_mail_for_which_there_was_no_scanner"],
    "an edge or one of its workers dies": [
        "fault/test_faults.py::test_lost_edges_lose_nothing", "fault/test_spool_crashes.py::test_killed",
        "fault/test_edge_master.py::test_hanging_worker_is_replaced"],
    "a coordinator dies or hangs": [
        "fault/test_faults.py::test_lost_behind_the_edges_is_not_noticed", "fault/test_state.py::test_state_survives_its_keepers",
        "fault/test_lagging.py::test_nodes_leave_a_coordinator_without_database", "integration/test_acts.py"],
    "PostgreSQL or every coordinator is away": [
        "fault/test_outage.py::test_outage", "fault/test_faults.py::test_all_coordinators_and_postgres_gone_direct_mail_flows",
        "integration/test_spool.py::test_submission_without_a_database", "integration/test_limits.py::test_without_coordinators_each_worker_counts_for_itself"],
    "PostgreSQL fails over": ["fault/test_failover.py"],
    "the spool is at a limit, or the database's disk full": ["fault/test_spool_full_disk.py::test_a_full_disk", "integration/test_spool.py::test_S72_a_full_spool_is_said_before_the_message"],
    "the next hop is down": ["integration/test_next_hop.py", "integration/test_spool_hops.py"],
    "the network lets nothing through": ["fault/test_network.py::test_network"],
    "the clock jumps": ["fault/test_spool_clock.py::test_the_clock_jumps"],
}


def rows():
    """The first cells of the table."""
    text = (ROOT / "README.md").read_text()
    table = text[text.index("## What happens when\n"):].split("\n\n")[1]
    return [line.split("|")[1].strip() for line in table.splitlines()[2:]]


def test_every_row_is_shown():
    unshown = [row for row in rows() if not any(row.startswith(name) for name in SHOWN)]
    assert not unshown, f"no test shows that {unshown}"


@pytest.mark.parametrize("row", SHOWN)
def test_who_shows_it_is_there(row):
    assert any(name.startswith(row) for name in rows()), "the table says nothing of it"
    for shown in SHOWN[row]:
        path, _, name = shown.partition("::")
        defined = [node.name for node in ast.parse((ROOT / "tests" / path).read_text()).body if isinstance(node, ast.FunctionDef)]
        assert name in defined if name else any(re.match("test_", one) for one in defined), f"{shown} is not there"
