"""Rows of the feature list that policies answer for: history (S57), postmaster and abuse (S75), addresses."""
import html
import json
import pathlib
import re
import subprocess

import pytest

import test_mx
import weir
from weir import Smtp, wait_until

OUTSIDE = "127.0.0.2"


def test_S57_history(make_cluster):
    cluster = make_cluster(edges=1, scanners=1)
    folder = cluster.dir / "policy"
    table = (folder / "mailertable").read_text()
    (folder / "mailertable").write_text(table + "two.example.net error:5.1.1:550 two\n")
    cluster.weirctl("policy", "apply", str(folder), "--comment", "ticket 17: two moved away")
    (folder / "mailertable").write_text(table + "three.example.net error:5.1.1:550 three\n")
    cluster.weirctl("policy", "apply", str(folder))
    history = json.loads(cluster.weirctl("--json", "policy", "history").stdout)
    assert [(one["epoch"], one["applied_by"], one["comment"]) for one in history] == [
        (3, "operator", ""), (2, "operator", "ticket 17: two moved away"), (1, "operator", history[2]["comment"])]
    assert all(re.match(r"\d{4}-\d\d-\d\dT", one["applied_at"]) for one in history)
    two, three = "mailertable: %s two.example.net error:5.1.1:550 two\n", "mailertable: %s three.example.net error:5.1.1:550 three\n"
    assert cluster.weirctl("policy", "diff", "1", "2").stdout == two % "+"
    assert cluster.weirctl("policy", "diff", "2", "3").stdout == two % "-" + three % "+"
    assert cluster.weirctl("policy", "diff", "2").stdout == two % "-" + three % "+", "to what is in force"
    assert cluster.weirctl("policy", "diff", "2", str(folder)).stdout == two % "-" + three % "+"
    assert cluster.weirctl("policy", "diff", str(folder)).stdout == "no difference\n"
    done = cluster.weirctl("policy", "diff", "2", "99", check=False)
    assert done.returncode == 65 and "no policy epoch 99" in done.stderr
    cluster.weirctl("policy", "rollback", "2")
    assert cluster.weirctl("policy", "diff", "2", "4").stdout == "no difference\n"
    wait_until(lambda: "550 5.1.1" in str(test_mx.rcpt(cluster, "two.example.net")), 10, "the earlier policy on the edge")
    newest = json.loads(cluster.weirctl("--json", "policy", "history").stdout)[0]
    assert (newest["epoch"], newest["applied_by"], newest["comment"]) == (4, "operator", "back to epoch 2")
    assert "policy apply" in cluster.weirctl("history").stdout


def test_S75_postmaster_and_abuse_of_each_local_domain(make_cluster):
    cluster = make_cluster(edges=1, scanners=1)
    folder = cluster.dir / "policy"
    own = folder / "local-host-names"
    own.write_text(own.read_text() + "bare.example.edu\n")
    table = folder / "mailertable"
    table.write_text("\n".join(line for line in table.read_text().splitlines() if not line.split()[:1] == ["."]) + "\n")
    (folder / "aliases").write_text("joe: joe@example.edu\n")
    cluster.apply_policy()

    def answers(*names):
        with Smtp(cluster.relay(), source=OUTSIDE) as client:
            return [str(answer.code) + " " + answer.text for answer in client.envelope(recipients=names)]
    assert answers("joe@bare.example.edu")[0].startswith("250")
    told = answers("postmaster@bare.example.edu", "Abuse@bare.example.edu", "POSTMASTER@example.edu", "abuse@example.edu", "postmaster", "nobody@bare.example.edu")
    assert [answer[:3] for answer in told] == ["250"] * 5 + ["550"], told
    explained = json.loads(cluster.weirctl("--json", "relay", "explain", "192.0.2.7", "abuse@bare.example.edu").stdout)
    assert explained["stands_for"] == "postmaster@example.edu"


def test_policy_test(make_cluster, tmp_path):
    """The same questions to weirctl and to the edge; before a policy is applied and of the one in force."""
    cluster = make_cluster(edges=1, scanners=1)
    cases = tmp_path / "campus.cases"
    cases.write_text("# CLIENT  LOGIN  SENDER  RECIPIENT -> EXPECTED\n"
                     "127.0.0.2  -  <>                   alice@example.edu   -> accept\n"
                     "127.0.0.2  -  -                    x@foreign.example   -> 550 5.7.1\n"
                     "127.0.0.1  -  -                    x@foreign.example   -> accept\n"
                     "127.0.0.2  -  -                    x%foreign.example@example.edu -> refuse\n"
                     "127.0.0.2  alice@example.edu  -    x@foreign.example   -> accept\n"
                     "127.0.0.2  -  -                    x@closed.example.net -> 550 5.2.1\n")
    done = cluster.weirctl("policy", "test", str(cases), check=False)
    assert done.returncode == 1 and f"{cases}:7: 127.0.0.2 - - x@closed.example.net: expected 550 5.2.1, got 550 5.7.1 " in done.stdout, done.stdout
    assert done.stdout.endswith("6 cases, 1 not as expected\n")
    folder = cluster.dir / "policy"
    table = folder / "mailertable"
    table.write_text(table.read_text() + "closed.example.net error:5.2.1:550 closed\n")
    done = cluster.weirctl("policy", "test", "--policy", str(folder), str(cases), check=False)
    assert (done.returncode, done.stdout) == (0, "6 cases, 0 not as expected\n"), done.stdout + done.stderr
    offline = subprocess.run([weir.BIN / "weirctl", "--json", "policy", "test", "--policy", folder, cases], capture_output=True, text=True, check=False)
    assert json.loads(offline.stdout) == {"cases": 6, "failed": []}, offline.stderr
    cluster.apply_policy()
    assert cluster.weirctl("policy", "test", str(cases)).returncode == 0
    for line in cases.read_text().splitlines()[1:]:
        client, login, sender, recipient, _, *expected = line.split()
        if login == "-":
            with Smtp(cluster.relay(), source=client) as session:
                (answer,) = session.envelope(sender="" if sender == "<>" else "sender@example.org", recipients=[recipient])
            assert str(answer.code) == expected[0] or (answer.code == 250) == (expected[0] == "accept"), (line, answer)
    cases.write_text("\n127.0.0.2 - x@foreign.example -> 550\n")
    done = cluster.weirctl("policy", "test", str(cases), check=False)
    assert done.returncode == 65 and f"{cases}:2: error: write CLIENT LOGIN SENDER RECIPIENT" in done.stderr
    assert cluster.weirctl("policy", "test", str(tmp_path / "nothing"), check=False).returncode == 66


# ---- every address of isemail's vectors ----

ANY = {"ISEMAIL_RFC5322_TOOLONG", "ISEMAIL_RFC5322_LOCAL_TOOLONG", "ISEMAIL_RFC5322_DOMAIN_TOOLONG", "ISEMAIL_RFC5321_IPV6DEPRECATED"}


def is_address(category, diagnosis, address):
    """None: either is right. Where we differ from isemail on purpose is said in tests/unit/test_smtp_address.c."""
    if diagnosis in ANY:
        return None
    if diagnosis == "ISEMAIL_RFC5321_TLDNUMERIC":
        return False
    return (address in ("test@iana.org.", "test@[1111:2222:3333:4444:5555:6666:7777:8888]")
            or category in ("ISEMAIL_VALID_CATEGORY", "ISEMAIL_DNSWARN", "ISEMAIL_RFC5321"))


def test_every_address_of_isemail_gets_the_right_answer(cluster, corpus):
    path = next((found for found in (pathlib.Path(corpus, layout, "address/isemail/test/tests.xml") for layout in ("vectors", "")) if found.exists()), None)
    if path is None:
        pytest.skip("WEIR_CORPUS has no address/isemail/test/tests.xml")
    asked = unspeakable = 0
    for one in re.findall(r"<test .*?</test>", path.read_text(), re.S):
        def value(tag, test=one):
            found = re.search(rf"<{tag}>(.*?)</{tag}>", test, re.S)
            return html.unescape(found.group(1)) if found else ""
        address = "".join(chr(ord(char) - 0x2400) if 0x2400 <= ord(char) < 0x2420 else char for char in value("address"))
        right = is_address(value("category"), value("diagnosis"), address)
        if address == "" or "\r" in address or "\n" in address:  # the null path, and what would be two lines
            unspeakable += 1
            continue
        # An outsider: a foreign address is refused for that, and no next hop is asked.
        with Smtp(cluster.relay(), OUTSIDE) as client:
            client.send(f"MAIL FROM:<{address}> SMTPUTF8\r\n".encode())
            sender = client.reply()
            client.command("RSET")
            client.command("MAIL FROM:<x@example.org> SMTPUTF8")
            client.send(f"RCPT TO:<{address}>\r\n".encode())
            recipient = client.reply()
        told = (sender.code, recipient.code)
        refused = (500, 500) if "\0" in address else (501, 501)  # a NUL is in no command
        assert told in ((250, 550), refused), (address, sender, recipient)
        assert right is None or told == ((250, 550) if right else refused), (address, value("diagnosis"), sender, recipient)
        asked += 1
    print(f"\n{asked} addresses asked, {unspeakable} cannot be said in one line")
    assert asked > 130
