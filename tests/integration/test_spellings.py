"""Operators find an address by whatever spelling they type, and at once."""
import re
import subprocess

import pytest

from coordinators import Coordinators, audit_row, pb
from spooling import Edge, new_id

TYPED = ("Alice@b\u00fccher.EXAMPLE", "alice@B\u00dcCHER.example", "<alice@bu\u0308cher.example>", "ALICE@xn--bcher-kva.example", "alice@XN--BCHER-KVA.example")
STORED = ("alice@b\u00fccher.example", "Alice@xn--bcher-kva.example")


@pytest.fixture(scope="module")
def one():
    with Coordinators(1) as made:
        made.start()
        made.add_key("edge-1", "edge")
        yield made


@pytest.fixture(scope="module")
def node(one):
    edge = one.node("edge-1", "edge")
    assert edge.hello(30) is not None
    yield edge
    edge.close()


def explained(one, *queries):
    """The plans of all that was done for them."""
    done = subprocess.run([one.pg.bin + "/psql", "-XAtq", "-v", "ON_ERROR_STOP=1", one.pg.conninfo, "-c",
                           "LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on; SET auto_explain.log_analyze = on;"
                           "SET client_min_messages = log;" + ";".join(queries)], capture_output=True, text=True, check=True)
    return done.stderr


def test_a_trace(one, node):
    ids = [new_id() for _ in range(6)]
    rows = [audit_row(ident, **{field: spelling.encode()}) for ident, (field, spelling) in
            zip(ids, [(field, spelling) for field in ("sender", "recipient", "given") for spelling in STORED])]
    node.send(report=pb.Report(node=b"edge-1", worker=0, boot=node.boot, batch=1, rows=rows))
    assert node.receive("report_ack", 30)[0].batch == 1
    for typed in TYPED:
        assert sorted(row["id"] for row in one.json("trace", typed)) == sorted(ids), typed
    assert one.json("trace", "--limit", 1, TYPED[0])[0]["id"] in ids
    for typed in ("alice@b\u00fccher.example.org", "alice@buecher.example", "bob@b\u00fccher.example"):
        done = one.run_ctl("trace", typed)
        assert done.returncode == 65 and f'nothing is known of "{typed}"' in done.stderr


def test_the_queue(one, node):
    edge, ids = Edge(node), [new_id() for _ in range(4)]
    for ident, spelling in zip(ids, STORED):
        edge.stored(ident, (("bob@example.org", "xn--bcher-kva.example"),), sender=spelling.encode())
    for ident, spelling in zip(ids[2:], STORED):
        edge.stored(ident, ((spelling, "[xn--bcher-kva.example]:25"),))

    def listed(*words):
        return [entry["id"] for entry in one.json("queue", "list", *words)]
    for typed in TYPED + ("@b\u00fccher.example", "al*@xn--bcher-kva.ex*", "<*@B\u00dcCHER.*>"):
        assert listed("--from", typed) == ids[:2] and listed("--to", typed) == ids[2:], typed
    assert listed("--destination", "b\u00fccher.example") == ids[:2] and listed("--destination", "[B\u00dcCHER.example]*") == ids[2:]
    assert one.json("queue", "hold", "--to", TYPED[0])["changed"] == 2
    assert one.json("history")[-1]["detail"]["to"] == TYPED[0], "as it was typed"
    assert listed("--state", "held") == ids[2:]
    assert one.json("queue", "delete", "--from", TYPED[3])["changed"] == 2
    assert one.run_ctl("queue", "delete", "--to", "alice@b\u00fccher.example\n*").returncode == 65, "that is no two patterns"
    assert one.json("queue", "delete", "--force")["changed"] == 2


def test_recipients_that_were_verified(one):
    one.pg.query("""INSERT INTO verified SELECT v, '[glass]:25', true, 250, '2.1.5', 'ok', now(), 'edge-1', now() + interval '1 h', now() + interval '1 h'
        FROM (SELECT 'User' || n || '@example.edu' FROM generate_series(1, 100000) AS n UNION ALL SELECT unnest('{%s}'::text[])) AS r (v); ANALYZE verified"""
                 % ",".join(STORED))
    for typed in TYPED + ("@b\u00fccher.example", "@XN--bcher-kva.example"):
        shown = one.json("verify", "show", typed)
        assert shown["count"] == 2 and sorted(entry["recipient"] for entry in shown["recipients"]) == sorted(STORED), (typed, shown)
    assert one.json("verify", "show", "<uSER7@Example.EDU>")["recipients"][0]["recipient"] == "User7@example.edu"
    plans = explained(one, *[f"SELECT admin_verify_{act}'user9@example.edu')" for act in ("show(", "forget('operator', ") for _ in range(7)])
    print(set(re.findall(r"((?:Seq|Index|Bitmap)[A-Za-z ]* Scan[A-Za-z ]*(?:using|on) \w+)", plans)))
    assert "verified_by_recipient" in plans and not re.search(r"Seq Scan on verified[^\n]*\(actual", plans), plans
    assert one.json("verify", "forget", TYPED[1])["forgotten"] == 2
    assert one.json("history")[-1]["target"] == TYPED[1]
    assert one.json("verify", "forget", "@Example.edu")["forgotten"] == 99999
