"""The database's schema: made anew, brought up to date from earlier versions, and left alone by earlier programs."""
import pathlib
import re
import subprocess

from coordinators import BIN, Coordinators, audit_row, counter, entry, pb, wait_until
from spooling import BODY, Edge, new_id

SCHEMAS = pathlib.Path(__file__).with_name("schemas")


def use(one, database, script=None):
    """The coordinators' database is this one now, made with the script (or there already)."""
    conninfo = one.pg.conninfo.replace("dbname=weir", f"dbname={database}")
    if script is not None:
        one.pg.query(f"CREATE DATABASE {database}")
        subprocess.run([one.pg.bin + "/psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-f", "-", conninfo], input=script, text=True, check=True,
                       stdout=subprocess.DEVNULL)
    (one.dir / "database").write_text(conninfo)
    one.pg.conninfo = conninfo


def migrate(one, *options):
    return subprocess.run([BIN / "weir-coordinator", "migrate", *options, "-c", one.config("coordinator-1"), "--name", "coordinator-1"],
                          capture_output=True, text=True, check=False)


def add_operator(one):
    subprocess.run([BIN / "weir-coordinator", "keys", "add", "operator", "operator", one.keys["operator"].public,
                    "-c", one.config("coordinator-1"), "--name", "coordinator-1"], check=True, capture_output=True)


def schema(one):
    """All objects of the database as pg_dump writes them, in no order."""
    dumped = subprocess.run([one.pg.bin + "/pg_dump", "--schema-only", one.pg.conninfo], capture_output=True, text=True, check=True).stdout
    dumped = re.sub(r"^\\(un)?restrict .*$", "", dumped.split("-- PostgreSQL database dump complete", maxsplit=1)[0], flags=re.M)
    return sorted(part.strip() for part in re.split(r"\n--\n-- Name: .*\n--\n", dumped)[1:])


def login_fold(one, database_says=None):
    """What a function does that is changed here; changes it behind the coordinators' backs."""
    if database_says is not None:
        one.pg.query(f"CREATE OR REPLACE FUNCTION login_fold(login text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '{database_says}' $$")
    return one.pg.query("SELECT login_fold('Alice')")[0][0]


def report(node, batch, *rows):
    node.send(report=pb.Report(node=node.name.encode(), worker=0, boot=node.boot, batch=batch, rows=rows))


def test_migrations_and_bootstrap():
    with Coordinators(1) as one:
        command = [BIN / "weir-coordinator", "migrate", "-c", one.config("coordinator-1"), "--name", "coordinator-1"]
        assert migrate(one, "--check").returncode == 0
        before = one.pg.query("SELECT version FROM schema_migration ORDER BY 1")
        use(one, "other", "")
        done = migrate(one, "--check")
        assert done.returncode == 1 and "0001_base" in done.stdout and "\nfunctions/cluster\n" in done.stdout
        both = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(4)]
        assert [process.wait(60) for process in both] == [0, 0, 0, 0], "migrations that meet wait for each other"
        done = migrate(one, "--check")
        assert (done.returncode, done.stdout) == (0, "") and len(before) >= 2
        test = subprocess.run([BIN / "weir-coordinator", "-t", "-c", one.config("coordinator-1"), "--name", "coordinator-7"],
                              capture_output=True, text=True, check=False)
        assert test.returncode == 1 and "coordinator-7" in test.stderr


def test_functions_that_differ_are_applied_again():
    with Coordinators(1) as one:
        login_fold(one, "old")
        assert migrate(one).returncode == 0 and login_fold(one) == "old", "what is recorded is not applied again"
        one.pg.query("UPDATE schema_functions SET digest = 'old' WHERE name = 'auth'")
        done = migrate(one, "--check")
        assert (done.returncode, done.stdout) == (1, "functions/auth\n")
        one.start()
        assert login_fold(one) == "alice", "a coordinator does so when it starts"
        assert migrate(one, "--check").returncode == 0


def test_functions_of_a_newer_program_stay():
    with Coordinators(1) as one:
        login_fold(one, "newer")
        one.pg.query("INSERT INTO schema_migration (version, name) SELECT max(version) + 1, 'newer' FROM schema_migration")
        one.pg.query("UPDATE schema_functions SET digest = 'newer'")
        assert migrate(one, "--check").returncode == 0 and migrate(one).returncode == 0
        one.start()
        assert login_fold(one) == "newer"
        assert one.pg.query("SELECT DISTINCT digest FROM schema_functions") == [["newer"]]
        assert one.json("status")["conservation_difference"] == 0


def test_database_of_the_first_version_goes_on():
    with Coordinators(1) as one:
        made_anew = schema(one)
        use(one, "first", (SCHEMAS / "first.sql").read_text())
        add_operator(one)
        assert schema(one) == made_anew
        one.start()
        for name, role in (("scanner-1", "scanner"), ("edge-1", "edge")):
            one.add_key(name, role)
        edge = one.node("edge-1", "edge")
        assert edge.hello()
        edge.beat(metrics=[counter("weir_x_total", 1)], metrics_partial=True)
        edge.beat(metrics=[counter("weir_y_total", 2)], metrics_partial=True)
        wait_until(lambda: [one.metric(f'weir_{name}_total{{node="edge-1"}}') for name in "xy"] == [1, 2], 30, "merged metrics")
        report(edge, 1, audit_row(new_id()))
        assert edge.receive("report_ack", 30)[0].batch == 1
        one.ctl("drain", "--force", "edge-1")
        assert one.json("status")["conservation_difference"] == 0
        assert edge.state(lambda s: entry(s, "edge-1").drain and s.identity and s.fresh, 30)
        assert "database: " not in one.log("coordinator-1").replace("database: connected", "")
        edge.close()


# Of the messages in 0014.sql. Two were leased when its coordinator stopped; one was held as well.
LEASED, DEFERRED_TOO, HELD, INCOMPLETE, DELIVERED = ("06H037Y2EG8XHBPTZ9BM", "06H037Y2EHAFR0Q1VSC9", "06H037Y2EJ6G9KFPNWWS",
                                                     "06H037Y2EJ11YYC6ZMCB", "06H037Y2EEBRNV1638DP")
# It was dumped at some time, and is of now: nothing is at the end of its life.
OF_NOW = """
UPDATE audit SET time = now();
UPDATE spool_event SET at = now();
UPDATE spool_message SET arrived_at = now(), stored_at = CASE WHEN stored_at IS NOT NULL THEN now() END, chunk_at = now();
UPDATE spool_queue SET arrived_at = now(), due_at = now(), attend_at = now() + interval '1 hour';
UPDATE spool_lane SET turn_at = now();
UPDATE spool_wake SET at = now();
"""


def test_mail_of_an_earlier_version_is_delivered():
    with Coordinators(2, sets=["spool_leftover = 1h"]) as two:
        made_anew = schema(two)
        use(two, "earlier", (SCHEMAS / "0014.sql").read_text() + "SET search_path = public;" + OF_NOW)
        two.start()  # both at once
        assert schema(two) == made_anew
        assert two.pg.query("SELECT epoch FROM policy WHERE digest <> policy_digest(epoch) OR digest = ''") == []
        add_operator(two)
        assert two.json("policy", "show")["epoch"] == 2
        assert [account["login"] for account in two.json("account", "list")] == ["alice@example.edu"]
        assert [action["action"] for action in two.json("history")].count("policy apply") == 2
        assert {row["id"] for row in two.json("trace", "bob@example.org")} == {DELIVERED}
        assert two.json("node", "show", "edge-1")["drain"] is True
        assert two.json("status")["conservation_difference"] == 0
        two.ctl("queue", "release", HELD)
        two.add_key("edge-1", "edge")
        node = two.node("edge-1", "edge", at="coordinator-2")
        assert node.hello(30)
        edge = Edge(node)
        assert edge.chunk(INCOMPLETE, len(BODY), b"more\r\n", True).status == pb.ANSWER_OK
        wanted = {(LEASED, "[192.0.2.1]:25"), (DEFERRED_TOO, "[192.0.2.1]:25"), (DEFERRED_TOO, "[192.0.2.2]:25"), (HELD, "[192.0.2.1]:25"),
                  (INCOMPLETE, "[192.0.2.1]:25")}
        leases = []

        def claimed():
            leases.extend(edge.claim(room=10) or ())
            return len(leases) >= len(wanted)

        wait_until(claimed, 60, "all mail is leased")
        assert {(lease.id, lease.destination.decode()) for lease in leases} == wanted and len(leases) == len(wanted)
        assert edge.fetch(LEASED) == BODY and edge.fetch(INCOMPLETE) == BODY + b"more\r\n"
        assert edge.deliver_all(leases) == {pb.ANSWER_OK}
        assert two.pg.query("SELECT count(*) FROM spool_message") == [["0"]]
        assert {row["disposition"] for row in two.json("trace", "bob@example.org")} == {"delivered"}
        assert two.json("status")["conservation_difference"] == 0
        node.close()


# What makes a migration take as long as the test likes, at the end of what is done to the audit table.
SLOW = """
CREATE TABLE slow ();
INSERT INTO slow DEFAULT VALUES;
CREATE FUNCTION slow() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN WHILE EXISTS (SELECT FROM public.slow) LOOP PERFORM pg_sleep(0.1); END LOOP; END $$;
CREATE EVENT TRIGGER slow ON ddl_command_start WHEN TAG IN ('DROP INDEX') EXECUTE FUNCTION slow();
"""
# Who migrates, and for how long it has.
SLEEPERS = """
SELECT pid, extract(epoch FROM clock_timestamp() - xact_start)::integer FROM pg_stat_activity
WHERE wait_event = 'PgSleep' AND application_name = 'weir coordinator-1'
"""


def test_long_migration_ends_and_holds_nobody_up():
    with Coordinators(1, sets=["database_timeout = 3s"]) as one:
        use(one, "earlier", (SCHEMAS / "0014.sql").read_text() + "SET search_path = public;" + OF_NOW + SLOW)
        one.start(wait=False)
        sleepers = lambda: one.pg.query(SLEEPERS)  # none while it looks whether it is to go on
        ((first, _),) = wait_until(sleepers, 60, "a migration that takes long")
        for table in ("spool_message", "spool_queue", "spool_body", "auth_guess", "account", "node_process", "policy"):
            one.pg.query(f"BEGIN; SET LOCAL lock_timeout = '1s'; LOCK TABLE {table} IN ROW EXCLUSIVE MODE; COMMIT")
        wait_until(lambda: any(int(seconds) >= 6 for _, seconds in sleepers()), 60, "one that takes longer than database_timeout")
        assert wait_until(sleepers, 60, "it goes on")[0][0] == first, "it was left, and begun again"
        one.pg.query("DELETE FROM slow")
        wait_until(lambda: one.http("/readyz")[0] == 200, 60, "ready")
        assert migrate(one, "--check").returncode == 0
        assert one.metric('weir_db_timeouts_total{node="coordinator-1",waiting_for="setup"}') == 0


def test_indexes_made_before_are_taken():
    """Those that the coordinator's README has for a large table."""
    text = (pathlib.Path(__file__).parents[2] / "coordinator/README.md").read_text()
    made = re.search(r"\n(      ALTER TABLE audit ADD COLUMN .*?;)\n- ", text, re.S)
    with Coordinators(1) as one:
        made_anew = schema(one)
        use(one, "earlier", (SCHEMAS / "0014.sql").read_text() + "SET search_path = public;" + made.group(1))
        before = one.pg.query("SELECT oid FROM pg_class WHERE relname LIKE 'audit_by_%' OR relname = 'audit_trouble' ORDER BY 1")
        done = migrate(one)
        assert done.returncode == 0 and len(before) == 7
        assert one.pg.query("SELECT oid FROM pg_class WHERE relname LIKE 'audit_by_%' OR relname = 'audit_trouble' ORDER BY 1") == before
        assert schema(one) == made_anew


def test_coordinators_of_the_version_before_go_on():
    """What they ask in another way, beside a coordinator of today."""
    with Coordinators(1) as one:
        one.start()
        one.add_key("edge-1", "edge")
        node = one.node("edge-1", "edge")
        assert node.hello(30)
        ident = new_id()
        Edge(node).stored(ident)
        ((claimed, destination, token),) = one.pg.query("SELECT id, destination, token FROM spool_claim('edge-1/0', 10, true, 20, interval '1 hour')")
        assert claimed == ident
        result = f"""SELECT status, removed FROM spool_result('1 s', '1 s', '1 h', '1 d', '{ident}', '{destination}', {token}, 'edge-1', false, '0',
                     false, false, '', '', '', '', '{{0}}', '{{1}}', '{{250}}', '{{Ok}}')"""
        assert one.pg.query(result) == [["0", "t"]]
        ids = [new_id() for _ in range(3)]
        bodies = ["one", "", "the third"]
        messages = ", ".join(f"('{i}', true, {len(body)}, 1, false, false, '', 'edge-1', 'handoff', '192.0.2.9', 'here', '', 'a@example.edu', '', '', '', '', '', NULL, 7)"
                             for i, body in zip(ids, bodies))
        stored = f"""SELECT stored, status, have, complete FROM spool_add(100, 100000, '4 h', '5 d', ARRAY[{messages}]::spool_new_message[],
                     ARRAY[{", ".join(f"('{i}', '{body}')" for i, body in zip(ids, bodies))}]::spool_new_body[],
                     ARRAY[{", ".join(f"('{i}', 0, 'host.example.org', 'b@example.org', '')" for i in ids)}]::spool_new_recipient[],
                     ARRAY[{", ".join(f"('{i}', 'host.example.org', false, false, 7)" for i in ids)}]::spool_new_entry[])"""
        assert one.pg.query(stored) == [["", "1", "", ""]], "all are new"
        assert one.pg.query(stored) == [[i, "1", str(len(body)), "t"] for i, body in zip(ids, bodies)], "all are here"
        assert one.pg.query("SELECT id, convert_from(data, 'UTF8') FROM spool_body ORDER BY id") == sorted([i, body] for i, body in zip(ids, bodies) if body)
        assert one.json("status")["conservation_difference"] == 0
        one.pg.query("INSERT INTO account (login, hash, senders, created_by) VALUES ('alice', 'hers', '{alice@example.edu}', 'operator')")
        begin = "SELECT limited, hash, senders FROM auth_begin(%d, '%s', '192.0.2.9', 2, 2, interval '1 hour')"
        assert one.pg.query(begin % (1, "alice")) == [["", "hers", "{alice@example.edu}"]]
        one.pg.query("SELECT auth_forgive(1, 'alice', true)")
        assert one.pg.query("SELECT count(*) FROM auth_guess") == [["0"]]
        assert [one.pg.query(begin % (number, "mallory"))[0][0] for number in (2, 3, 4)] == ["", "", "client"]
        node.close()
