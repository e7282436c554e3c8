"""Who may guess how often: an edge's questions to a coordinator, from any client it likes to name, and what the database counts."""
import os
import pathlib
import signal
import statistics
import subprocess
import threading
import time

import pytest

import directory
from coordinators import Coordinators, pb, wait_until
from spooling import Edge

SETS = ["[auth]", "auth_failure_delay = 0", "auth_account_failures = 3", "auth_client_failures = 8", "auth_workers = 1"]
HOME, OFFICE, STRANGER = "192.0.2.1", "192.0.2.2", "198.51.100.66"
BUSY = 'weir_auth_busy_total{node="coordinator-1"}'
ACCEPTED, WRONG, LIMITED = pb.AUTH_ACCEPTED, pb.AUTH_WRONG, pb.AUTH_LIMITED


@pytest.fixture(scope="module")
def one():
    with Coordinators(1, sets=SETS) as made:
        made.start()
        made.add_key("edge-1", "edge")
        add_account(made, "alice", "wonderland")
        yield made


@pytest.fixture
def edge(one):
    one.pg.query("DELETE FROM auth_guess; DELETE FROM auth_place")
    yield from an_edge(one)


def an_edge(made):
    node = made.node("edge-1", "edge")
    assert node.hello() is not None
    yield Edge(node)
    node.close()


def add_account(made, login, password, *senders):
    done = made.run_ctl("account", "add", login, *senders, typed=password + "\n")
    assert done.returncode == 0, done.stderr


def ask(edge, login, password, client=HOME):
    return edge.ask(auth_check=pb.AuthCheck(login=login.encode(), password=password.encode(), client=client.encode(), listener=b"submission"))


def result(edge, request, seconds=15):
    answer = edge.answer(request, seconds)[0]
    assert answer is not None and answer.status == pb.ANSWER_OK, answer
    return answer.auth_result


def check(edge, login, password, client=HOME):
    return result(edge, ask(edge, login, password, client)).outcome


def helpers(made):
    """The helper processes of the coordinator."""
    pid = made.processes["coordinator-1"].pid
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as children:
        return [int(child) for child in children.read().split()]


def places(made):
    return made.pg.query("SELECT login, client FROM auth_place")


def guesses(made):
    return [int(cell) for cell in made.pg.query("SELECT count(*), count(*) FILTER (WHERE wrong) FROM auth_guess")[0]]


# ---- who is counted together ----

def test_s17_strangers_do_not_shut_an_owner_out_of_its_places(one, edge):
    assert check(edge, "alice", "wonderland", HOME) == ACCEPTED
    for number in range(3):  # many strangers have one allowance together
        assert check(edge, "alice", f"guess {number}", f"198.51.100.{number}") == WRONG
    assert check(edge, "alice", "guess", "198.51.100.9") == LIMITED
    assert check(edge, "alice", "wonderland", OFFICE) == LIMITED  # where it never was
    assert check(edge, "alice", "wonderland", HOME) == ACCEPTED
    for number in range(3):  # its places are no way around the limit
        assert check(edge, "alice", f"guess {number}", HOME) == WRONG
    assert check(edge, "alice", "wonderland", HOME) == LIMITED


def test_an_owners_own_mistakes_leave_strangers_their_limit_and_its_other_places_alone(one, edge):
    for place in (HOME, OFFICE):
        assert check(edge, "alice", "wonderland", place) == ACCEPTED
    assert [check(edge, "alice", "guess", HOME) for _ in range(4)] == [WRONG] * 3 + [LIMITED]
    assert check(edge, "alice", "wonderland", OFFICE) == ACCEPTED
    assert [check(edge, "alice", "guess", STRANGER) for _ in range(4)] == [WRONG] * 3 + [LIMITED]


def test_places_are_forgotten_in_time_and_with_a_new_password(one, edge):
    assert check(edge, "alice", "wonderland", HOME) == ACCEPTED
    wait_until(lambda: places(one) == [["alice", HOME]], 30, "its place, which is written down while it is answered")
    one.pg.query("UPDATE auth_place SET at = now() - interval '31 days'")
    assert [check(edge, "alice", "guess", STRANGER) for _ in range(3)] == [WRONG] * 3
    assert check(edge, "alice", "wonderland", HOME) == LIMITED
    assert places(one) == []  # and gone
    one.pg.query("DELETE FROM auth_guess")
    assert check(edge, "alice", "wonderland", HOME) == ACCEPTED
    wait_until(lambda: places(one) == [["alice", HOME]], 30, "its place")
    done = one.run_ctl("account", "passwd", "Alice", typed="wonderland\n")
    assert done.returncode == 0, done.stderr
    assert places(one) == []


def test_a_client_is_limited_whatever_the_account(one, edge):
    assert [check(edge, f"user{number}", "guess", STRANGER) for number in range(9)] == [WRONG] * 8 + [LIMITED]
    assert check(edge, "alice", "wonderland", STRANGER) == LIMITED
    assert check(edge, "alice", "wonderland", HOME) == ACCEPTED


def spent(made):
    """CPU seconds of the helper processes, to the nanosecond."""
    return sum(int(pathlib.Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in helpers(made)) / 1e9


def test_S16_an_unknown_login_costs_what_a_wrong_password_costs(one, edge):
    """auth_failure_delay is 0 here, so nothing hides a difference. The work is compared, as time is also that of other programs."""
    took, work, answers = {"alice": [], "nobody": []}, {"alice": [], "nobody": []}, set()
    for turn in range(31):
        for login in took:
            one.pg.query("DELETE FROM auth_guess")
            before, began = spent(one), time.monotonic()
            told = result(edge, ask(edge, login, f"guess {turn}"))
            took[login].append(time.monotonic() - began)
            work[login].append(spent(one) - before)
            answers.add(told.SerializeToString())
    assert len(answers) == 1
    wrong, unknown = (statistics.median(times) for times in took.values())
    print(f"wrong {wrong * 1000:.1f} ms, unknown {unknown * 1000:.1f} ms ({unknown / wrong:.2f})")
    wrong, unknown = (statistics.median(times) for times in work.values())
    print(f"work {wrong * 1000:.2f} ms and {unknown * 1000:.2f} ms ({unknown / wrong:.3f})")
    assert 0.8 < unknown / wrong < 1.25


def test_S16_an_unknown_login_is_not_answered_before_a_hash_is_made(one, edge):
    """No quick way out that a clock could see: while nobody can hash, neither login is answered."""
    hashing = helpers(one)
    for pid in hashing:
        os.kill(pid, signal.SIGSTOP)
    try:
        asked = {login: ask(edge, login, "guess") for login in ("alice", "nobody")}
        wait_until(lambda: guesses(one) == [2, 0], what="both under way")
        # What is asked after them by another way is answered meanwhile: the coordinator itself has time.
        wait_until(lambda: edge.claim(room=1) == [], what="other answers")
        assert not set(asked.values()) & set(edge.kept)
    finally:
        for pid in hashing:
            os.kill(pid, signal.SIGCONT)
    assert {result(edge, request).outcome for request in asked.values()} == {WRONG}


# ---- what is under way ----

def test_right_passwords_under_way_are_no_wrong_ones(one, edge):
    """A client that logs in often at once waits for its own checks, and is let in."""
    before = one.metric(BUSY)
    for pid in helpers(one):
        os.kill(pid, signal.SIGSTOP)
    try:
        asked = [ask(edge, "alice", "wonderland") for _ in range(8)]
        wait_until(lambda: guesses(one) == [3, 0], what="as many under way as may be wrong")
        wait_until(lambda: one.metric(BUSY) >= before + 5, what="the others wait")
    finally:
        for pid in helpers(one):
            os.kill(pid, signal.SIGCONT)
    assert [result(edge, request).outcome for request in asked] == [ACCEPTED] * 8
    wait_until(lambda: guesses(one) == [0, 0], what="all forgiven")


def test_wrong_passwords_under_way_are_not_more_than_the_limit(one, edge):
    asked = [ask(edge, "alice", f"guess {number}") for number in range(12)]
    outcomes = sorted(result(edge, request).outcome for request in asked)
    assert outcomes == [WRONG] * 3 + [LIMITED] * 9
    wait_until(lambda: guesses(one) == [3, 3], what="three wrong ones")


def test_a_check_whose_coordinator_died_counts_as_wrong(one, edge):
    one.pg.query("INSERT INTO auth_guess (request, login, client, at) SELECT n, 'alice', '192.0.2.1', now() - interval '1 minute' FROM generate_series(1, 3) AS n")
    assert check(edge, "alice", "wonderland") == LIMITED


def test_a_question_that_two_coordinators_got_is_one_guess_and_stays_one(one, edge):
    """The second copy could not be checked, or comes late: the first one's wrong stays wrong."""
    begin = "SELECT limited FROM auth_begin(7, 'alice', false, '192.0.2.1', 3, 8, '15 min', '20 s', '30 d')"
    for memory, kept in (9, "0"), (11, "1"):  # auth_place_memory
        place = "DELETE FROM auth_place; INSERT INTO auth_place VALUES ('alice', '192.0.2.50', now() - interval '10 days')"
        assert one.pg.query(f"BEGIN; {place}; {begin.replace('30 d', f'{memory} d')}; SELECT count(*) FROM auth_place; ROLLBACK")[-1] == [kept]
    assert one.pg.query(begin) == [[""]] and one.pg.query(begin) == [[""]]
    assert guesses(one) == [1, 0]
    one.pg.query("SELECT auth_wrong(7, 'alice', '192.0.2.1')")
    one.pg.query("SELECT auth_forgive(7, 'alice', '192.0.2.1', false)")
    assert guesses(one) == [1, 1]
    assert one.pg.query(begin.replace("(7", "(8")) == [[""]]
    one.pg.query("SELECT auth_forgive(8, 'alice', '192.0.2.1', false)")  # the copy that could not be checked is first
    one.pg.query("SELECT auth_wrong(8, 'alice', '192.0.2.1')")
    assert guesses(one) == [2, 2]


def test_forgiving_does_not_lock_against_an_operator(one, edge):
    """auth_forgive() and account passwd both touch the account and its guesses, so they must lock them in one order: in any other, one of the two ends in a deadlock."""
    request = ask(edge, "alice", "guess")
    result(edge, request)
    wait_until(lambda: guesses(one) == [1, 1], 30, "the wrong one is written down")  # which may come after its answer
    one.pg.query("UPDATE auth_guess SET wrong = false; UPDATE account SET last_used_at = NULL; INSERT INTO auth_place VALUES ('alice', '192.0.2.1', now() - interval '2 hours')")
    holder = subprocess.Popen([one.pg.bin + "/psql", "-XAtq", "-v", "ON_ERROR_STOP=1", one.pg.conninfo], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
    failed = []

    def forgive():
        try:
            one.pg.query("SELECT auth_forgive(request, login, client, true) FROM auth_guess")
        except OSError as error:
            failed.append(str(error))

    holder.stdin.write("BEGIN; SELECT login FROM account WHERE login = 'alice' FOR UPDATE;\n")
    holder.stdin.flush()
    assert holder.stdout.readline().strip() == "alice"
    other = threading.Thread(target=forgive)
    other.start()
    wait_until(lambda: one.pg.query("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'SELECT auth_forgive%'") == [["1"]],
               what="auth_forgive waits for the operator")
    hash_ = one.pg.query("SELECT hash FROM account WHERE login = 'alice'")[0][0]
    said, errors = holder.communicate(f"SELECT status FROM admin_account_passwd('test', 'alice', '{hash_}'); COMMIT;\n", timeout=20)
    other.join()
    assert (said.strip(), errors, failed) == ("0", "", [])


# ---- names ----

def test_only_ascii_is_folded_whatever_the_locale(one, edge):
    # The tests' database folds like C by itself; this is how one with a locale of its own would.
    assert one.pg.query("SELECT login_fold('MÜLLER' COLLATE \"und-x-icu\"), lower('MÜLLER' COLLATE \"und-x-icu\")") == [["mÜller", "müller"]]
    add_account(one, "MÜLLER@Example.edu", "wonderland")
    assert one.pg.query("SELECT login FROM account WHERE login LIKE 'm%'") == [["mÜller@example.edu"]]
    assert check(edge, "mÜller@EXAMPLE.edu", "wonderland") == ACCEPTED
    assert check(edge, "müller@example.edu", "wonderland") == WRONG
    one.ctl("account", "disable", "mÜLLER@example.edu")
    assert check(edge, "mÜller@EXAMPLE.edu", "wonderland") == WRONG
    one.ctl("account", "delete", "MÜLLER@example.EDU")


@pytest.mark.parametrize("login", ["alice ", " alice", "al ice", "alice\t", "alice\x01", "alice\x7f"])
def test_a_login_with_blanks_is_none(one, edge, login):
    answer = edge.answer(ask(edge, login, "wonderland"))[0]
    assert answer.status == pb.ANSWER_REFUSED


@pytest.fixture(scope="module", params=["ldap_dn = uid=%u,ou=people,dc=example,dc=edu", "ldap_filter = (uid=%u)", "ldap_filter = (|(uid=%u)(mail=%s))"])
def with_directory(request):
    if not os.path.exists(directory.SLAPD):
        pytest.skip("slapd is not installed")
    with directory.Directory() as slapd:
        secret = slapd.folder / "secret"
        secret.write_text("searcher\n")
        sets = [*SETS, f"ldap_uri = ldap://127.0.0.1:{slapd.port}", "ldap_starttls = off", request.param]
        if "ldap_dn" not in request.param:
            sets += ["ldap_base = dc=example,dc=edu", "ldap_service_dn = cn=weir,dc=example,dc=edu", f"ldap_service_password_file = {secret}"]
        with Coordinators(1, sets=sets) as made:
            made.start()
            made.add_key("edge-1", "edge")
            yield made


@pytest.fixture
def asking(with_directory):
    with_directory.pg.query("DELETE FROM auth_guess; DELETE FROM auth_place; DELETE FROM account")
    yield from an_edge(with_directory)


def test_s16_a_user_of_a_directory_has_one_name(with_directory, asking):
    for login in ("carol", "CAROL", "Carol@example.edu", "carol@elsewhere.test"):
        told = result(asking, ask(asking, login, "looking-glass"))
        assert told.outcome == ACCEPTED and told.account == b"carol"
        assert sorted(told.senders) == [b"c.c@example.edu", b"carol@example.edu"], login  # as the directory says, whatever domain was typed
    with_directory.pg.query("DELETE FROM auth_place")
    tried = [check(asking, login, "guess", f"198.51.100.{number}") for number, login in enumerate(("carol", "CaRol@a.test", "carol@b.test", "carol@c.test"))]
    assert tried == [WRONG] * 3 + [LIMITED]
    assert check(asking, "carol@d.test", "looking-glass", "198.51.100.77") == LIMITED


@pytest.mark.parametrize("account", ["carol", "Carol@example.edu"])
def test_a_disabled_account_shuts_the_directorys_user_out(with_directory, asking, account):
    add_account(with_directory, account, "a long password")
    assert check(asking, account, "a long password") == ACCEPTED
    with_directory.ctl("account", "disable", account)
    for login in ("carol", "carol@example.edu", "carol@elsewhere.test"):
        assert check(asking, login, "looking-glass") == WRONG, login
        with_directory.pg.query("DELETE FROM auth_guess")


def test_a_directory_is_told_no_letters_that_it_folds(with_directory, asking):
    """slapd takes this fullwidth c for a c."""
    assert check(asking, "ｃarol", "looking-glass") == WRONG
