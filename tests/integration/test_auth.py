"""AUTH: accounts of the database, the limits on guessing, a directory, and what must not be seen of a password."""
import base64
import concurrent.futures
import json
import os
import pathlib
import re
import select
import shlex
import signal
import statistics
import subprocess
import time

import pytest

import directory
import weir
from weir import Smtp, message, wait_until

OUTSIDE = "127.0.0.2"
SETTINGS = ["auth=offer", "auth_failure_delay=300ms", "auth_account_failures=5", "auth_client_failures=1000"]


@pytest.fixture(scope="module")
def auth_cluster():
    made = weir.Cluster(edges=2, scanners=1, coordinators=2, sets=SETTINGS)
    try:
        yield made.up()
    finally:
        made.down()


def plain(login, password):
    return base64.b64encode(f"\0{login}\0{password}".encode()).decode()


def secured(cluster, edge=1, source=OUTSIDE):
    client = Smtp(cluster.relay(edge), source=source)
    client.starttls(cluster.env["CA_FILE"])
    return client


def authenticate(cluster, login, password, edge=1):
    with secured(cluster, edge) as client:
        return client.command("AUTH PLAIN " + plain(login, password))


def add_account(cluster, login, password, *senders):
    added = subprocess.run([*shlex.split(cluster.env["WEIRCTL"]), "account", "add", login, *senders], input=password + "\n", text=True,
                           capture_output=True)
    assert added.returncode == 0, added.stderr


def test_s16_s17_s56_a_login_opens_the_relay_from_anywhere(auth_cluster):
    with Smtp(auth_cluster.relay(), source=OUTSIDE) as client:
        assert not any(word.startswith("AUTH") for word in client.ehlo.text.split("\n"))
        assert client.command("AUTH PLAIN " + plain("alice@example.edu", "wonderland")).text.startswith("5.7.11")
        assert [reply.code for reply in client.envelope(recipients=("x@elsewhere.test",))] == [550]
    with secured(auth_cluster) as client:
        assert "AUTH PLAIN LOGIN" in client.ehlo.text.split("\n")
        assert client.command("AUTH PLAIN " + plain("Alice@example.edu", "wonderland")).code == 235
        assert [reply.code for reply in client.envelope(recipients=("x@elsewhere.test",))] == [250]
        raw = message(token="auth-s16")
        answer = client.data(b"Authentication-Results: edge-1.weir.test; dkim=pass header.d=bank.example\r\n" + raw)
        assert answer.code == 250
    stored = auth_cluster.sink.with_token("auth-s16")[0][0].decode()
    assert "bank.example" not in stored
    assert "with ESMTPSA id " + answer.queue_id in stored
    log = auth_cluster.log("edge-1")
    assert re.search(rf"{answer.queue_id}: client=\S+\[{OUTSIDE}\], sasl_method=PLAIN, sasl_username=alice@example.edu\n", log)


def test_s16_login_with_challenges(auth_cluster):
    with secured(auth_cluster) as client:
        assert client.command("AUTH LOGIN").code == 334
        assert client.command(base64.b64encode(b"alice@example.edu").decode()).code == 334
        assert client.command(base64.b64encode(b"wonderland").decode()).code == 235
        assert client.command("AUTH PLAIN " + plain("alice@example.edu", "wonderland")).code == 503


def test_s16_swaks_logs_in(auth_cluster):
    for mechanism in ("PLAIN", "LOGIN"):
        done = subprocess.run(["swaks", "--server", auth_cluster.relay(), "--tls", "--auth", mechanism, "--auth-user", "alice@example.edu",
                               "--auth-password", "wonderland", "--from", "alice@example.edu", "--to", "x@elsewhere.test"], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_s16_unknown_and_wrong_are_not_told_apart(auth_cluster):
    add_account(auth_cluster, "timing@example.edu", "a long password")
    seconds = {"timing@example.edu": [], "nobody@example.edu": []}
    replies = set()
    for turn in range(4):
        for login, took in seconds.items():
            with secured(auth_cluster) as client:
                began = time.monotonic()
                replies.add(str(client.command("AUTH PLAIN " + plain(login, "wrong" + str(turn)))))
                took.append(time.monotonic() - began)
    assert len(replies) == 1 and "535" in replies.pop()
    known, unknown = (statistics.median(took) for took in seconds.values())
    print(f"wrong password {known:.3f} s, unknown user {unknown:.3f} s")
    assert min(min(took) for took in seconds.values()) >= 0.25


def test_s17_guessing_is_limited_over_the_cluster(auth_cluster):
    add_account(auth_cluster, "victim@example.edu", "a long password")
    codes = [authenticate(auth_cluster, "victim@example.edu", f"guess {i}", edge=1 + i % 2).code for i in range(7)]
    assert codes == [535] * 5 + [454] * 2
    assert authenticate(auth_cluster, "victim@example.edu", "a long password").code == 454
    wait_until(lambda: any("auth: too many wrong passwords: account victim@example.edu, now from" in auth_cluster.log(f"coordinator-{n}") for n in (1, 2)),
               what="the account in the log")
    assert authenticate(auth_cluster, "alice@example.edu", "wonderland").code == 235  # others are not concerned
    renewed = subprocess.run([*shlex.split(auth_cluster.env["WEIRCTL"]), "account", "passwd", "victim@example.edu"], input="another password\n", text=True)
    assert renewed.returncode == 0
    assert authenticate(auth_cluster, "victim@example.edu", "a long password").code == 535
    assert authenticate(auth_cluster, "victim@example.edu", "another password").code == 235


def test_the_limit_holds_however_many_guess_at_once(auth_cluster):
    add_account(auth_cluster, "crowd@example.edu", "a long password")
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        codes = list(pool.map(lambda i: authenticate(auth_cluster, "crowd@example.edu", f"guess {i}", edge=1 + i % 2).code, range(24)))
    assert sorted(codes) == [454] * 19 + [535] * 5


def test_guesses_of_one_client_are_limited_whatever_the_account(make_cluster):
    limited = make_cluster(edges=1, scanners=1, coordinators=1, sets=["auth=offer", "auth_failure_delay=0", "auth_client_failures=4"])
    codes = [authenticate(limited, f"user{i}@example.edu", "guess").code for i in range(6)]
    assert codes == [535] * 4 + [454] * 2
    with Smtp(limited.relay()) as client:  # from 127.0.0.1
        client.starttls(limited.env["CA_FILE"])
        assert client.command("AUTH PLAIN " + plain("alice@example.edu", "wonderland")).code == 235
    wait_until(lambda: limited.metric("weir_auth_limited_total", limit="client") == 2, what="weir_auth_limited_total")


def test_right_passwords_are_no_guesses(auth_cluster):
    for turn in range(8):
        assert authenticate(auth_cluster, "alice@example.edu", "wonderland", edge=1 + turn % 2).code == 235


def test_accounts_by_weirctl(auth_cluster):
    add_account(auth_cluster, "Bob@example.edu", "builders1", "bob@example.edu", "@builders.example.edu")
    assert "bob@example.edu" in auth_cluster.weirctl("account", "list").stdout
    again = subprocess.run([*shlex.split(auth_cluster.env["WEIRCTL"]), "account", "add", "bob@example.edu"], input="builders1\n", text=True, capture_output=True)
    assert again.returncode == 65 and "already" in again.stderr
    short = subprocess.run([*shlex.split(auth_cluster.env["WEIRCTL"]), "account", "add", "c@example.edu"], input="short\n", text=True, capture_output=True)
    assert short.returncode == 65 and "8 bytes" in short.stderr
    assert authenticate(auth_cluster, "bob@example.edu", "builders1").code == 235
    named = auth_cluster.weirctl("account", "senders", "BOB@example.edu", "@masons.example.edu", "bob@example.edu")
    assert "@masons.example.edu bob@example.edu" in named.stdout and "@builders" not in named.stdout and named.stderr == "", named
    (change,) = [act for act in json.loads(auth_cluster.weirctl("--json", "history", "--limit", "50").stdout) if act["action"] == "account senders"]
    assert change["target"] == "bob@example.edu" and "@builders.example.edu" in json.dumps(change), change
    for words, said in ((("*@example.edu",), "write @example.edu"), (("@*.example.edu",), "not an address or @domain"), (("bob",), "not an address or @domain")):
        for verb in ("senders", "add"):
            wrong = subprocess.run([*shlex.split(auth_cluster.env["WEIRCTL"]), "account", verb, "bob@example.edu", *words], input="builders1\n", text=True,
                                   capture_output=True)
            assert wrong.returncode == 65 and said in wrong.stderr, wrong
    assert "there is no account zoe" in auth_cluster.weirctl("account", "senders", "zoe", "@example.edu", check=False).stderr
    assert authenticate(auth_cluster, "bob@example.edu", "builders1").code == 235, "its password is the one it was"
    warned = subprocess.run([*shlex.split(auth_cluster.env["WEIRCTL"]), "account", "add", "nobody"], input="builders1\n", text=True, capture_output=True)
    assert warned.returncode == 0 and "nobody may send as nobody" in warned.stderr, warned
    auth_cluster.weirctl("account", "delete", "nobody")
    auth_cluster.weirctl("account", "disable", "bob@example.edu")
    assert authenticate(auth_cluster, "bob@example.edu", "builders1").code == 535
    auth_cluster.weirctl("account", "enable", "bob@example.edu")
    assert authenticate(auth_cluster, "bob@example.edu", "builders1").code == 235
    auth_cluster.weirctl("account", "delete", "bob@example.edu")
    assert authenticate(auth_cluster, "bob@example.edu", "builders1").code == 535


def test_another_coordinator_checks(auth_cluster):
    auth_cluster.kill("coordinator-1")
    try:
        wait_until(lambda: authenticate(auth_cluster, "alice@example.edu", "wonderland").code == 235, what="a login by the other coordinator")
    finally:
        auth_cluster.start("coordinator-1")


def test_without_a_database_nobody_is_let_in(auth_cluster):
    auth_cluster.stop("postgres")
    try:
        assert authenticate(auth_cluster, "alice@example.edu", "wonderland").code == 454
    finally:
        auth_cluster.start("postgres")
    wait_until(lambda: authenticate(auth_cluster, "alice@example.edu", "wonderland").code == 235, what="a login after the database is back")


def test_s43_no_password_in_any_log(auth_cluster):
    authenticate(auth_cluster, "alice@example.edu", "secret-that-is-wrong")
    with secured(auth_cluster) as client:  # typed where the login belongs
        client.command("AUTH LOGIN")
        client.command(base64.b64encode(b"secret-as-login").decode())
        client.command(base64.b64encode(b"x").decode())
    logs = lambda: "".join(auth_cluster.log(name) for name in ("coordinator-1", "coordinator-2"))
    limited = f"auth: too many wrong passwords: an unknown account, now from {OUTSIDE}\n"
    # A 454 alone says less: a coordinator that has its database back a little later than the other one says it, too.
    wait_until(lambda: authenticate(auth_cluster, "secret-as-login", "x").code == 454 and limited in logs(), 30, "the limit in the log")
    forms = [b"wonderland", b"secret-that-is-wrong", base64.b64encode(b"wonderland"), plain("alice@example.edu", "wonderland").encode(),
             plain("alice@example.edu", "secret-that-is-wrong").encode(), b"secret-as-login"]
    for path in pathlib.Path(auth_cluster.env["LOG_DIR"]).iterdir():
        text = path.read_bytes()
        for form in forms:
            assert form not in text, path


def test_the_log_names_the_mechanism_that_was_asked_for(auth_cluster):
    for asked, name in (("cram-md5", "CRAM-MD5"), (base64.b64encode(b"wonderland").decode(), "unknown")):
        with secured(auth_cluster) as client:
            assert client.command(f"AUTH {asked}").code == 504
        line = f": SASL {name} authentication failed: Unrecognized authentication mechanism"
        wait_until(lambda line=line: line in auth_cluster.log("edge-1"), what=line)


def test_metrics(auth_cluster):
    authenticate(auth_cluster, "alice@example.edu", "wonderland")
    wait_until(lambda: auth_cluster.metric("weir_auth_total", listener="relay", result="accepted") > 0, what="weir_auth_total")


# ---- a directory ----

@pytest.fixture(params=["template", "search"])
def directory_cluster(request, auth_cluster):
    if not os.path.exists(directory.SLAPD):
        pytest.skip("slapd is not installed")
    tls = auth_cluster.dir / "tls"
    block = weir.free_base_port()
    slapd = directory.Directory(block + 450, tls)
    secret = slapd.folder / "secret"
    secret.write_text("expired\n" if request.param == "expired" else "searcher\n")
    sets = [*SETTINGS, "sender_login_match=on", f"ldap_uri=ldap://127.0.0.1:{slapd.port}", f"ldap_ca_file={tls}/ca.pem", "ldap_workers=2"]
    sets += ["ldap_timeout=5m", "auth_timeout=5m"] if request.param == "patient" else ["ldap_timeout=4s"]
    if request.param in ("template", "patient"):
        sets.append("ldap_dn=uid=%u,ou=people,dc=example,dc=edu")
    else:
        sets += ["ldap_base=dc=example,dc=edu", "ldap_service_dn=cn=weir,dc=example,dc=edu", f"ldap_service_password_file={secret}", "ldap_sender_attribute=description"]
    made = weir.Cluster(edges=1, scanners=1, coordinators=1, sets=sets)
    try:
        made.up().directory = slapd
        slapd.senders = ("c.c@example.edu", "d.d@example.edu")[::1 if request.param in ("template", "patient") else -1]
        yield made
    finally:
        made.down()
        slapd.remove()


@pytest.mark.parametrize("directory_cluster", ["expired"], indirect=True)
def test_s16_trouble_with_our_own_account_is_nobodys_wrong_password(directory_cluster):
    for _ in range(3):
        assert authenticate(directory_cluster, "carol", "looking-glass").code == 454
    wait_until(lambda: directory_cluster.metric("weir_auth_total", result="unavailable") == 3, 30, "the three in the metrics")
    assert directory_cluster.metric("weir_auth_total", result="wrong") in (None, 0)
    assert authenticate(directory_cluster, "alice@example.edu", "wonderland").code == 235


def test_s16_a_directory_says_who_it_is(directory_cluster):
    wait_until(lambda: authenticate(directory_cluster, "carol", "looking-glass").code == 235, what="a login by the directory")
    assert authenticate(directory_cluster, "carol@example.edu", "looking-glass").code == 235
    assert authenticate(directory_cluster, "carol", "looking-glas").code == 535
    for login in ("nobody", "*", "carol,ou=people", "carol)(uid=*", "c*"):
        assert authenticate(directory_cluster, login, "looking-glass").code == 535, login
    assert authenticate(directory_cluster, "alice@example.edu", "wonderland").code == 235  # accounts here come first
    with secured(directory_cluster) as client:
        assert client.command("AUTH PLAIN " + plain("carol", "looking-glass")).code == 235
        own, of_another_attribute = directory_cluster.directory.senders
        assert client.command(f"MAIL FROM:<{own}>").code == 250
        client.command("RSET")
        for sender in (of_another_attribute, "alice@example.edu"):
            assert client.command(f"MAIL FROM:<{sender}>").code == 553
    directory_cluster.directory.process.send_signal(signal.SIGSTOP)
    try:
        assert authenticate(directory_cluster, "carol", "looking-glass").code == 454  # after ldap_timeout
    finally:
        directory_cluster.directory.process.send_signal(signal.SIGCONT)
    wait_until(lambda: authenticate(directory_cluster, "carol", "looking-glass").code == 235, what="a login after the directory goes on")


@pytest.mark.parametrize("directory_cluster", ["patient"], indirect=True)
def test_s16_a_slow_directory_stalls_those_who_need_it_and_nobody_else(directory_cluster):
    wait_until(lambda: authenticate(directory_cluster, "carol", "looking-glass").code == 235, what="a login by the directory")
    directory_cluster.directory.process.send_signal(signal.SIGSTOP)
    try:
        waiting = []
        for _ in range(6):  # more than ldap_workers
            waiting.append(secured(directory_cluster))
            waiting[-1].send(b"AUTH PLAIN " + plain("carol", "looking-glass").encode() + b"\r\n")
        for password, code in (("wonderland", 235), ("wonderlands", 535)):  # for themselves they may have to come again on a busy machine
            wait_until(lambda password=password, code=code: authenticate(directory_cluster, "alice@example.edu", password).code == code, 30, f"{code} for an account here")
        with Smtp(directory_cluster.env["EDGE_1_SUBMISSION"], source=OUTSIDE) as client:
            client.starttls(directory_cluster.env["CA_FILE"])
            wait_until(lambda: client.command("AUTH PLAIN " + plain("alice@example.edu", "wonderland")).code == 235, 30, "a login")
            assert client.envelope(sender="alice@example.edu", recipients=["bob@example.edu"])[0].code == 250
            assert client.data(message(token="stored-meanwhile-")).code == 250
        wait_until(lambda: directory_cluster.sink.with_token("stored-meanwhile-"), 30, "what was stored meanwhile, delivered")
        assert directory_cluster.weirctl("status").returncode == 0
        assert not select.select([one.sock for one in waiting], [], [], 0)[0], "whoever waits for the directory was answered first"
    finally:
        directory_cluster.directory.process.send_signal(signal.SIGCONT)
    for one in waiting:
        assert one.reply().code == 235
        one.close()
