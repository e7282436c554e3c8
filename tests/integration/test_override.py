"""S37: what an operator lets through against the cluster's judgement takes another one's approval, where approvals = 2."""
import json

import pytest

from coordinators import Coordinators, wait_until


@pytest.fixture(scope="module")
def c():
    with Coordinators(1, sets=["approvals = 2", "approval_wait = 10m"]) as made:
        made.add_key("second", "operator", direct=True)  # else a second one would have to agree
        made.start()
        made.config("second").write_text(made.config("operator").read_text().replace("operator.key", "second.key"))
        yield made


def second(c, *words):
    return c.run_ctl(*words, who="second")


def standing(c, key):
    return c.pg.query(f"SELECT action, override <> 0, who, reason FROM standing WHERE key = '{key}' AND by_operator AND expires_at > now()")


def ask(c, key):
    said = c.ctl("--json", "reputation", "set", key, "allow", "--reason", "a partner", "--expires", "2h", "--owner", "library")
    return json.loads(said)["pending"]


def test_s37_an_override_needs_two_operators(c):
    number = ask(c, "192.0.2.7")
    assert standing(c, "192.0.2.7") == []
    assert f" {number}  pending  allow 192.0.2.7 " in c.ctl("override", "list") and "a partner" in c.ctl("override", "list")
    alone = c.run_ctl("override", "approve", number)
    assert alone.returncode == 77 and "another operator has to approve it" in alone.stderr and standing(c, "192.0.2.7") == []
    done = second(c, "override", "approve", number)
    assert done.returncode == 0 and done.stdout.startswith("192.0.2.7: allow until "), done
    assert standing(c, "192.0.2.7") == [["allow", "t", "operator", "a partner"]]
    late = second(c, "override", "approve", number)
    assert late.returncode == 65 and "approved, by second" in late.stderr
    assert c.ctl("override", "list") == "no override waits for a second operator\n"
    one = c.json("override", "list", "--all")[-1]
    assert (one["state"], one["requested_by"], one["decided_by"], one["owner"]) == ("in force", "operator", "second", "library")
    acts = [(did["who"], did["action"]) for did in json.loads(c.ctl("--json", "history"))][-3:]
    assert acts == [("operator", "override request"), ("second", "override approve"), ("second", "reputation set")]


def test_what_is_refused_or_too_old_is_not_done(c):
    refused, old = ask(c, "192.0.2.8"), ask(c, "192.0.2.9")
    assert second(c, "override", "refuse", refused).stdout == f"override {refused} is refused\n"
    assert second(c, "override", "approve", refused).returncode == 65
    c.pg.query(f"UPDATE override SET pending_until = now() - interval '1 second' WHERE id = {old}")
    assert "ask for it anew" in second(c, "override", "approve", old).stderr
    assert standing(c, "192.0.2.8") == standing(c, "192.0.2.9") == []
    states = {one["id"]: one["state"] for one in c.json("override", "list", "--all")}
    assert states[refused] == "refused" and states[old] == "lapsed"
    assert c.run_ctl("override", "approve", "999999").returncode == 65 and c.run_ctl("override", "approve", "x").returncode == 64


def test_who_is_stricter_needs_nobody(c):
    c.ctl("reputation", "set", "192.0.2.10", "reject", "--reason", "r", "--expires", "1h")
    assert standing(c, "192.0.2.10") == [["reject", "f", "operator", "r"]]


def reject(c, key, by_operator=True):
    if by_operator:
        c.ctl("reputation", "set", key, "reject", "--reason", "r", "--expires", "2h")
    else:
        c.pg.query(f"SELECT standing_set(ARRAY[false], ARRAY['{key}'], false, ARRAY['reject'], ARRAY[now() + interval '2 hours'], '', '', '')")


@pytest.mark.parametrize("in_force, key, said, ends, waits", [
    ("192.0.2.20", "192.0.2.20", "throttle", "3h", True),
    ("192.0.2.20", "192.0.2.20", "reject", "1h", True),         # it was to last longer
    ("192.0.2.20", "192.0.2.20", "reject", "3h", False),
    ("192.0.2.0/28", "192.0.2.5", "throttle", "3h", True),      # the narrower word goes before
    ("192.0.2.5", "192.0.2.0/28", "throttle", "3h", False),
    ("score 192.0.2.20", "192.0.2.20", "throttle", "3h", True),
    ("score 192.0.2.20", "192.0.2.20", "reject", "1h", False),
    ("score 192.0.2.5", "192.0.2.0/28", "throttle", "3h", True),  # an operator's goes before a score
    ("score 192.0.2.5", "192.0.2.16/28", "throttle", "3h", False),
    ("host:192.0.2.64/28", "host:192.0.2.64/28", "throttle", "3h", True),
    ("alice@example.edu", "alice@example.edu", "throttle", "3h", True),
])
def test_who_is_milder_than_what_is_in_force_needs_another_one(c, in_force, key, said, ends, waits):
    c.pg.query("DELETE FROM standing")
    reject(c, in_force.removeprefix("score "), by_operator=not in_force.startswith("score "))
    before = standing(c, key)
    told = c.json("reputation", "set", key, said, "--reason", "milder", "--expires", ends)
    assert ("pending" in told) == waits, told
    if not waits:
        assert standing(c, key)[0][0] == said
        return
    assert standing(c, key) == before
    assert second(c, "override", "approve", told["pending"]).stdout.startswith(f"{key}: {said} until ")
    assert standing(c, key) == [[said, "t", "operator", "milder"]]


def count(c, *keys):
    for key in keys:
        c.pg.query(f"INSERT INTO reputation VALUES ('address', '{key}', now(), 0, 5, 0, 0, 0, 0)")


def test_who_lifts_something_needs_another_one(c):
    c.pg.query("DELETE FROM standing")
    count(c, "192.0.2.30", "192.0.2.31")
    assert c.ctl("reputation", "forget", "192.0.2.30") == "192.0.2.30: its counts are forgotten\n"
    reject(c, "192.0.2.31")
    number = c.json("reputation", "forget", "192.0.2.31", "--reason", "our own scanner's fault")["pending"]
    assert c.json("override", "list")[0]["reason"] == "our own scanner's fault"
    assert standing(c, "192.0.2.31") and f"{number}  pending  forget 192.0.2.31 " in c.ctl("override", "list")
    assert second(c, "override", "approve", number).stdout == "192.0.2.31: its counts are forgotten, and edges let it in\n"
    assert standing(c, "192.0.2.31") == []
    assert c.pg.query("SELECT detail->>'reason' FROM audit_action WHERE action = 'reputation forget' AND target = '192.0.2.31'") == [["our own scanner's fault"]]
    assert c.run_ctl("reputation", "forget", "--all", "--reason", "x").returncode == 64
    c.pg.query("INSERT INTO reputation SELECT 'address', '10.9.' || n / 250 || '.' || n % 250, now() - interval '2 hours', 0, 5, 0, 0, 0, 0 FROM generate_series(1, 20000) AS n")
    for age, many in ((["--since", "90m"], 1), (["--all"], 20001)):  # of which one part is 20000
        count(c, "192.0.2.33")
        reject(c, "192.0.2.33", by_operator=False)
        assert "does nothing until another operator says" in c.ctl("reputation", "forget", *age)
        number = c.json("override", "list")[0]["id"]
        assert c.pg.query("SELECT count(*) FROM standing WHERE key = '192.0.2.33' AND expires_at > now()") == [["1"]]
        assert second(c, "override", "approve", number).stdout == f"the counts of {many} are forgotten, and edges let 1 in\n"
        again = c.json("reputation", "forget", *age)["pending"]  # it was approved once
        assert second(c, "override", "refuse", again).returncode == 0


def test_a_new_operator_needs_another_one(c):
    asked = c.json("keys", "add", "third", "operator", "ab" * 32, "--reason", "the new colleague")["pending"]
    assert f"{asked}  pending  add a key of operator third " in c.ctl("override", "list")
    assert c.run_ctl("override", "approve", asked).returncode == 77 and "third" not in c.ctl("keys", "list")
    assert second(c, "override", "approve", asked).stdout == "a key of third is let in as operator\n"
    assert c.pg.query("SELECT role, added_by FROM node_key WHERE name = 'third'") == [["operator", "operator"]]
    assert c.pg.query("SELECT detail->>'reason' FROM audit_action WHERE action = 'keys add' AND target = 'third'") == [["the new colleague"]]
    other = c.json("keys", "add", "second", "operator", "cd" * 32)["pending"]  # he could speak as another one
    assert second(c, "override", "refuse", other).returncode == 0
    assert c.json("keys", "add", "operator", "operator", "ef" * 32)["name"] == "operator"
    assert c.json("keys", "add", "edge-9", "edge", "98" * 32)["role"] == "edge"


def test_a_stopped_sender_is_released_by_two(c):
    who = "account alice@example.edu"
    c.pg.query(f"INSERT INTO outbound_sender (subject, registered, hour) VALUES ('{who}', false, 0);"
               f"INSERT INTO outbound_stop (subject, state, dry, reason, evidence) VALUES ('{who}', 'held', false, 'too much', '{{}}')")
    unsaid = c.run_ctl("outbound", "release", "alice@example.edu")
    assert unsaid.returncode == 64 and "a reason is needed" in unsaid.stderr
    said = c.ctl("outbound", "release", "alice@example.edu", "--reason", "password changed")
    assert "does nothing until another operator says" in said
    assert c.pg.query("SELECT state FROM outbound_stop") == [["held"]]
    number = c.json("override", "list")[0]["id"]
    done = second(c, "override", "approve", number)
    assert done.returncode == 0 and done.stdout == f"{who} was held: 0 messages released, 0 deleted\n", done
    wait_until(lambda: c.pg.query("SELECT count(*) FROM outbound_stop") == [["0"]], 30, "it is lifted")
    assert json.loads(c.ctl("--json", "history"))[-1]["detail"]["override"] == number


def test_what_has_a_virus_or_may_be_an_outbreak_is_released_by_two(c):
    ident = "06GZYZYCR1PM1BG2PG4M"
    c.pg.query(f"INSERT INTO quarantine_message (id, arrived_at, size, needed, dsn, envelope, node, listener, client, helo, tls, sender, message_id, verdict, scanner, engine,"
               f" signatures, subject) VALUES ('{ident}', now(), 5, 2, false, '', 'edge-1', 'relay', '192.0.2.1', 'x', '', 'a@example.org', '', 'clean', '', '', '', 'x');"
               f"INSERT INTO quarantine_copy (id, number, recipient, address, destination, packed, state, reason, score, symbols, signature)"
               f" SELECT '{ident}', n, 'b@example.edu', 'b@example.edu', 'a.example', '', 'waiting', 'outbreak', 0, '', '' FROM generate_series(0, 1) AS n")
    states = lambda: c.pg.query(f"SELECT string_agg(state, ',' ORDER BY number) FROM quarantine_copy WHERE id = '{ident}'")
    assert c.run_ctl("quarantine", "release", "--reason", "outbreak", "--virus", "--why", "x").returncode == 64, "which?"
    said = c.ctl("quarantine", "release", f"{ident}/1", "--virus", "--why", "our own installer")
    assert "does nothing until another operator says" in said and states() == [["waiting,waiting"]]
    number = c.json("override", "list")[0]["id"]
    assert f"release whatever a scan finds of {ident}/1" in c.ctl("override", "list")
    assert second(c, "override", "approve", number).stdout == "1 copy changed\n" and states() == [["waiting,released"]]
    detail = json.loads(c.ctl("--json", "history"))[-1]["detail"]
    assert (detail["override"], detail["why"], detail["virus"]) == (number, "our own installer", True)
