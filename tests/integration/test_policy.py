"""Policy files in a real cluster: what edges do with them, how soon, and what weirctl says of it."""
import contextlib
import datetime
import json
import os
import random
import time

import pytest

from hops import Hop
from test_policy_versions import psql
from weir import Smtp, memory_kib, message, strip_added, wait_until, workers_of

OUTSIDE = "127.0.0.2"


def write(cluster, name, text):
    (cluster.dir / "policy" / name).write_text(text)


def except_until(cluster, end):
    write(cluster, "exceptions", f'{OUTSIDE}/31 max_message_size=100MiB reason="large scans" owner=library approved_by=postmaster '
                                 f'expires={end:%Y-%m-%dT%H:%M:%SZ}\n')
    cluster.apply_policy()


def size_offered(cluster, source=None, edge=1):
    with Smtp(cluster.relay(edge), source=source) as client:
        return next(int(line.split()[1]) for line in client.ehlo.text.split("\n") if line.startswith("SIZE "))


def test_S60_S61_an_exception_is_used_and_ends_by_itself(make_cluster):
    cluster = make_cluster(edges=2, scanners=1)
    fifty = 50 << 20
    assert size_offered(cluster, OUTSIDE) == fifty
    except_until(cluster, datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1))
    assert [size_offered(cluster, OUTSIDE, edge) for edge in (1, 2)] == [100 << 20] * 2, "the exception on every edge"
    assert size_offered(cluster) == fifty, "others keep the listener's limit"
    raw = message(size=80_000_000)
    answer = cluster.send(raw, source=OUTSIDE)
    assert answer.code == 250, answer
    assert cluster.send(raw).code == 552
    (row,) = wait_until(lambda: json.loads(cluster.weirctl("--json", "trace", answer.queue_id, check=False).stdout or "[]"), what="the audit row")
    assert row["rule"].endswith(", exceptions:1"), row["rule"]
    wait_until(lambda: sum(cluster.metric("weir_exceptions_used_total", node=node, limit="size") or 0 for node in ("edge-1", "edge-2")) == 1,
               what="the exception's use in the metrics")
    listed = cluster.weirctl("exception", "list").stdout
    assert "in force" in listed and "large scans" in listed, listed
    end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=10)
    except_until(cluster, end)
    # nobody does anything: the rule is back
    wait_until(lambda: all(size_offered(cluster, OUTSIDE, edge) == fifty for edge in (1, 2)), 60, "the end of the exception")
    assert datetime.datetime.now(datetime.timezone.utc) >= end - datetime.timedelta(seconds=1)
    assert "expired" in cluster.weirctl("exception", "list").stdout


@pytest.mark.sanitized
def test_S69_explain_says_what_an_edge_answers(cluster):
    for client, recipient in ((None, "alice@example.edu"), (None, "x@anywhere.example"), (OUTSIDE, "alice@example.edu"), (OUTSIDE, "x@anywhere.example"),
                              (OUTSIDE, "x%anywhere.example@example.edu"), (OUTSIDE, "postmaster")):
        with Smtp(cluster.relay(), source=client) as session:
            (answer,) = session.envelope(recipients=[recipient])
        told = json.loads(cluster.weirctl("--json", "relay", "explain", client or "127.0.0.1", recipient).stdout)
        if answer.code == 250:
            assert told["result"] == "deliver" and told["grant"]["line"]["rule"], told
        else:
            assert (told["result"], told["reply"]["code"]) == ("refuse", answer.code), told
            assert answer.text == f"{told['reply']['enhanced']} {told['reply']['text']}"
    assert "mailertable:" in cluster.weirctl("route", "explain", "alice@example.edu").stdout
    wrong = cluster.weirctl("relay", "explain", "printer", "alice@example.edu", check=False)
    assert wrong.returncode == 65 and "is not an IP address" in wrong.stderr


@pytest.mark.sanitized
def test_S53_S69_a_domain_has_one_meaning_in_all_its_spellings(cluster):
    """RFC 5890 2.3.2.4, whichever the operator wrote; and what stands in a file invisibly is no part of a name, or refused."""
    folder = cluster.dir / "policy"
    own, table = (folder / "local-host-names").read_text(), (folder / "mailertable").read_text()
    route = next(line.split(None, 1)[1] for line in table.splitlines() if line.startswith("example.edu"))
    write(cluster, "local-host-names", f"\ufeffm\u00fcller.edu\n{own}xn--strae-oqa.edu\n")
    write(cluster, "mailertable", f"m\u00fcller.edu {route}\nxn--strae-oqa.edu {route}\nb\u00fccher.edu error:5.2.1:550 closed\n{table}")
    assert "mailertable: + m\u00fcller.edu" in cluster.weirctl("policy", "diff", str(folder)).stdout, "as it is written"
    cluster.apply_policy()
    spellings = {250: ["xn--mller-kva.edu", "m\u00fcller.edu", "M\u00dcLLER.Edu", "mu\u0308ller.edu.", "xn--strae-oqa.edu", "STRA\u00dfE.edu"],
                 550: ["xn--bcher-kva.edu", "b\u00fccher.edu", "B\u00dcCHER.edu", "www.b\u00fccher.edu", "mller.edu"], 501: ["m\u200b\u00fcller.edu"]}
    for code, domains in spellings.items():
        for domain in domains:
            with Smtp(cluster.relay(), source=OUTSIDE) as client:
                (answer,) = client.envelope(recipients=[f"alice@{domain}"])
                assert answer.code == code, (domain, answer)
                assert ("5.2.1" in answer.text) == (domain.lower() in ("xn--bcher-kva.edu", "b\u00fccher.edu")), (domain, answer)
            explained = cluster.weirctl("--json", "relay", "explain", OUTSIDE, f"alice@{domain}", check=False)
            assert (explained.returncode == 65) == (code == 501), explained
            assert code == 501 or (json.loads(explained.stdout)["result"] == "deliver") == (code == 250), explained.stdout
    answer = cluster.send(message(token="spelled-as-given"), source=OUTSIDE, recipients=("alice@M\u00dcLLER.edu",))
    assert answer.code == 250, answer
    (raw, envelope), = cluster.sink.with_token("spelled-as-given")
    assert envelope["recipients"] == ["alice@m\u00dcller.edu"] and "for <alice@m\u00dcller.edu>".encode() in raw, "the next hop is told what we were"
    write(cluster, "local-host-names", f"{own}exa\u00a0mple.edu\n")
    refused = cluster.weirctl("policy", "check", str(folder), check=False)
    assert refused.returncode == 65 and f"local-host-names:{own.count(chr(10)) + 1}: error: 'exa\u00a0mple.edu' is not a domain" in refused.stderr, refused
    write(cluster, "local-host-names", own)
    write(cluster, "mailertable", table)
    cluster.apply_policy()


def difference(before, after):
    """What `policy apply` shows: lines that one has and the other has not, in their order, wherever they stand."""
    old, new = before.split("\n"), after.split("\n")
    return [[line for line in one if line and line not in other][:200] for one, other in ((old, set(new)), (new, set(old)))]


def test_the_difference_is_of_lines(cluster):
    """What large files have in common at both ends is not taken apart; nothing of it may be seen."""
    pick = random.Random(7)
    words = ["a", "b", "ab", "ba", "\u00e9", "\u00e8", "a\u00e9", "", "a" * 40]
    many = [f"user{n}: x@dept{n % 7}.example.net" for n in range(250)]
    cases = [("", ""), ("a", ""), ("a", "a\nb"), ("ab\nc", "b\nc"), ("a\nb\na\n", "a\nb\n"), ("b\na", "a\nb"), ("q\na\u00e9\nb", "q\na\u00e8\nb"),
             ("x\n", "x\n" + "\n".join(many)), ("\n".join(many), "\n".join(many[:100] + many[101:])), ("\n".join(many), "\n".join(many[::-1]))]
    cases += [tuple("\n".join(pick.choices(words, k=pick.randrange(8))) + pick.choice(["", "\n"]) for _ in range(2)) for _ in range(300)]
    values = json.dumps(cases).replace("'", "''")
    told = psql(cluster, f"SELECT json_build_array(d.removed, d.added) FROM json_array_elements('{values}') WITH ORDINALITY AS c(pair, number), "
                        "text_difference(pair->>0, pair->>1) AS d ORDER BY number").splitlines()
    assert len(told) == len(cases)
    for (before, after), answer in zip(cases, told):
        assert json.loads(answer) == difference(before, after), (before, after)
    for n in (65000, 66000):  # bytes of a line from which on it is not looked for in what is in common
        told = psql(cluster, "SELECT json_array_length(removed), json_array_length(added), length(removed->>0), added->>0 = repeat('x', l) || 'z' || repeat('y', l) "
                             f"FROM (SELECT {n} AS l) AS n, text_difference(concat(E'a\\n', repeat('x', l), repeat('y', l), E'\\nb'), "
                             "concat(E'a\\n', repeat('x', l), 'z', repeat('y', l), E'\\nb'))")
        assert told == f"1|1|{2 * n}|t", told


CROWDS = [f"{'a-crowd-so-large-that-its-name-is-written-down-once-only'}-{n}" for n in range(5)]


@pytest.mark.sanitized
def test_S48_S49_aliases_of_own_domains(make_cluster):
    cluster = make_cluster(edges=2, scanners=1)
    own = cluster.dir / "policy" / "local-host-names"
    own.write_text(own.read_text() + "students.example.edu\n")
    table = cluster.dir / "policy" / "mailertable"
    table.write_text("\n".join(line for line in table.read_text().splitlines() if not line.startswith(".\t") and not line.startswith(". "))
                     + "\ncrowd.example.edu\tsmtp:[127.0.0.1]:9\n")
    write(cluster, "aliases", "sysadm: sysadm@example.edu\nstaff: :include:staff-members\nowner-staff: postmaster@example.edu\n"
          "dead: unknown-a@example.edu, unknown-b@example.edu\nhalf-dead: unknown-a@example.edu, one@example.edu\n"
          "cut-short: unknown-a@example.edu, four21-b@example.edu, one@example.edu\n" + "".join(f"{crowd}: :include:crowd-{n}\n" for n, crowd in enumerate(CROWDS)))
    for crowd in range(len(CROWDS)):
        write(cluster, f"crowd-{crowd}", "".join(f"{'somebody-with-a-name-that-is-as-long-as-it-may-be-':-<50}{crowd}{n:03}@crowd.example.edu\n" for n in range(990)))
    write(cluster, "recipient_delimiter", "+\n")
    write(cluster, "staff-members", "# by the personnel office\none@example.edu, two@example.edu\nsysadm\n")
    cluster.apply_policy()

    def answers(*names, edge=1):
        with Smtp(cluster.relay(edge), source=OUTSIDE) as client:
            return [str(answer.code) + " " + answer.text for answer in client.envelope(recipients=[f"{name}@students.example.edu" for name in names])]

    for edge in (1, 2):
        assert answers("SysAdm", edge=edge)[0].startswith("250"), "the aliases on every edge"
    assert answers("nobody")[0].startswith("550 5.1.1 <nobody@students.example.edu>: User unknown")
    assert answers("SysAdm+News")[0].startswith("250") and answers("nobody+news", "sysadm-news")[1].startswith("550 5.1.1")
    assert [answer[:9] for answer in answers("sysadm", "staff")] == ["250 2.1.5", "250 2.1.5"], "each as from its own sender"
    dead, half_dead = answers("dead", "half-dead")  # nobody outside gets a report about what could be refused
    assert dead.startswith("550 5.1.1") and half_dead.startswith("250"), (dead, half_dead)
    wait_until(lambda: cluster.weirctl("trace", "dead@students.example.edu", check=False).stdout.count(" said: 550 5.1.1 ") == 2, 30, "the next hop's words")
    # Its host ends the questions, as Postfix does after twenty wrong ones. Who is asked first differs, and so does the answer, until it gets through.
    cut_short = []
    wait_until(lambda: cut_short.append(answers("cut-short")[0][:4]) or "250 " in cut_short, 60, "a list of which some live")
    assert set(cut_short) <= {"450 ", "250 "}, cut_short
    crowds = [f"{name}@students.example.edu" for name in CROWDS]
    answer = cluster.send(message(), source=OUTSIDE, recipients=crowds)
    assert answer.code == 250, answer
    with Smtp(cluster.relay(), source=OUTSIDE) as client:  # as much as the spool takes, and the rest is for another transaction
        client.send(b"MAIL FROM:<a@example.org>\r\n" + b"".join(b"RCPT TO:<%b> ORCPT=rfc822;%b@example.org\r\n" % (crowd.encode(), b"x" * 100) for crowd in crowds))
        assert [client.reply().code for _ in range(1 + len(crowds))] == [250, 250, 250, 250, 452, 452]
        assert client.data(message()).code == 250
    raw = message(token="one-for-each")
    answer = cluster.send(raw, source=OUTSIDE, recipients=("staff@students.example.edu",))
    assert answer.code == 250, answer

    def told():
        rows = json.loads(cluster.weirctl("--json", "trace", answer.queue_id, check=False).stdout or "[]")
        return {row["recipient"] for row in rows if row["disposition"] == "delivered"} == {f"{name}@example.edu" for name in ("one", "two", "sysadm")}
    wait_until(told, 20, "a copy for each member")
    assert "stands for sysadm@example.edu\n" in cluster.weirctl("relay", "explain", OUTSIDE, "sysadm+news@students.example.edu").stdout
    explained = json.loads(cluster.weirctl("--json", "route", "explain", "staff+news@students.example.edu").stdout)
    assert explained["result"] == "expand" and explained["owner"] == "owner-staff@students.example.edu"
    assert [target["stands_for"] for target in explained["targets"]] == ["one@example.edu", "two@example.edu", "sysadm@example.edu"]

    folder = str(cluster.dir / "policy")
    assert cluster.weirctl("policy", "diff", folder).stdout == "no difference\n"
    write(cluster, "staff-members", "one@example.edu\n")
    assert cluster.weirctl("policy", "diff", folder).stdout.splitlines() == [
        "staff-members: - # by the personnel office", "staff-members: - one@example.edu, two@example.edu", "staff-members: - sysadm",
        "staff-members: + one@example.edu"]
    write(cluster, "aliases", "a: b\nb: c\nc: a\n")
    refused = cluster.weirctl("policy", "apply", str(cluster.dir / "policy"), check=False)
    assert refused.returncode == 65 and "aliases:1: error: 'a' leads back to itself" in refused.stderr, refused.stderr
    assert answers("sysadm")[0].startswith("250"), "a broken file changes nothing"


@contextlib.contextmanager
def next_hops(count):
    made = [Hop() for _ in range(count)]
    try:
        yield made
    finally:
        for hop in made:
            hop.gate.set()
            hop.shutdown()
            hop.server_close()


@pytest.mark.sanitized
def test_S49_the_line_of_stirling(make_cluster):
    """The aliases file of the seed, with the line as it stands: its target is a host of one label, to which the mailertable knows the way."""
    with next_hops(1) as (forth,):
        cluster = make_cluster(edges=1, scanners=1)
        write(cluster, "local-host-names", "stir.ac.uk\n")
        write(cluster, "mailertable", f"forth\tsmtp:[127.0.0.1]:{forth.server_address[1]}\n")
        write(cluster, "aliases", "sysadm: sysadm@forth\nteam: sysadm@forth, nobody\n")
        checked = cluster.weirctl("policy", "check", str(cluster.dir / "policy"))
        assert "policy/local-host-names:1: warning: mail to postmaster@stir.ac.uk is answered 451 4.3.5: add a line" in checked.stderr, checked.stderr
        assert "policy/aliases:2: warning: 'team' stands for <nobody@stir.ac.uk>, which is refused" in checked.stderr, checked.stderr
        cluster.apply_policy()
        raw = message(token="to-forth")
        answer = cluster.send(raw, source=OUTSIDE, recipients=("sysadm@stir.ac.uk",))
        assert answer.code == 250, answer
        body, = wait_until(lambda: forth.to("sysadm@forth"), what="the mail at forth")
        assert strip_added(body) == raw
        with Smtp(cluster.relay(), source=OUTSIDE) as client:  # an alias opens nothing but itself
            assert [answer.code for answer in client.envelope(recipients=["sysadm@forth", "root@stir.ac.uk"])] == [550, 550]
        told = cluster.send(raw, source=OUTSIDE, sender="chair@forth", recipients=("team@stir.ac.uk",))  # who is refused fails alone
        assert told.code == 250, told
        report, = wait_until(lambda: forth.to("chair@forth"), what="the report about nobody@")
        assert b"nobody@stir.ac.uk" in report and b"550 5.1.1" in report and b"User unknown" in report, report
        assert len(wait_until(lambda: forth.to("sysadm@forth")[1:], what="the copy of the other")) == 1


def test_S1_50_of_5000_domains_find_their_next_hops(make_cluster):
    seed = int(os.environ.get("WEIR_SEED") or random.SystemRandom().getrandbits(32))
    print(f"WEIR_SEED={seed}")
    chosen = random.Random(seed).sample(range(5000), 50)
    with next_hops(7) as hops:
        cluster = make_cluster(edges=2, scanners=1)
        write(cluster, "mailertable", "".join(f"dept{i}.example.net\tsmtp:[127.0.0.1]:{hops[i * 31 % 7].server_address[1]}\n" for i in range(5000)))
        cluster.apply_policy()
        for number, i in enumerate(chosen):
            answer = cluster.send(message(), edge=1 + number % 2, recipients=(f"user@dept{i}.example.net",))
            assert answer.code == 250, (i, answer)
        for i in chosen:
            assert [hop for hop in hops if hop.to(f"user@dept{i}.example.net")] == [hops[i * 31 % 7]], i
        assert sum(len(hop.taken) for hop in hops) == 50


def test_S1_S49_5000_domains_and_100000_aliases(make_cluster):
    cluster = make_cluster(edges=2, scanners=1)
    table = (cluster.dir / "policy" / "mailertable").read_text()
    write(cluster, "mailertable", "".join(f"dept{i}.example.net\tsmtp:[mail{i % 97}.example.net]:{1000 + i}\n" for i in range(5000)) + table)
    write(cluster, "aliases", "".join(f"user{i}: u{i}@dept{i % 5000}.example.net\n" for i in range(100_000)))
    pids = [pid for node in ("edge-1", "edge-2") for pid in workers_of(cluster, node)]
    before = sum(memory_kib(pid) for pid in pids)
    began = time.monotonic()
    cluster.weirctl("policy", "apply", str(cluster.dir / "policy"))
    applied = time.monotonic()
    cluster.wait_policy(2)
    followed = time.monotonic()
    print(f"\napply {applied - began:.2f} s, on every edge (as heartbeats tell) {followed - applied:.2f} s later, "
          f"{(sum(memory_kib(pid) for pid in pids) - before) / len(pids) / 1024:.1f} MiB a worker")
    explained = json.loads(cluster.weirctl("--json", "route", "explain", "user77777@example.edu").stdout)
    assert explained["stands_for"] == f"u77777@dept{77777 % 5000}.example.net"
    assert explained["next_hop"] == {"host": f"mail{77777 % 5000 % 97}.example.net", "port": 1000 + 77777 % 5000, "mx": False}
    cases = cluster.dir / "fifty.cases"
    cases.write_text("".join(f"127.0.0.1 - - x@dept{i}.example.net -> smtp:[mail{i % 97}.example.net]:{1000 + i}\n" for i in random.Random(1).sample(range(5000), 50)))
    assert cluster.weirctl("policy", "test", str(cases)).stdout == "50 cases, 0 not as expected\n"
    routed = json.loads(cluster.weirctl("--json", "route", "explain", "x@dept4321.example.net").stdout)
    assert routed["next_hop"]["port"] == 1000 + 4321 and routed["decided_by"][0]["rule"] == "mailertable:4322"
    assert [pid for node in ("edge-1", "edge-2") for pid in workers_of(cluster, node)] == pids, "no restart"
    assert cluster.send(message()).code == 250
    began = time.monotonic()
    cluster.weirctl("policy", "rollback", "1")
    print(f"rollback {time.monotonic() - began:.2f} s")
    cluster.wait_policy(3)
