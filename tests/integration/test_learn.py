"""What the native spam engine is taught: by operators and users, within bounds, in the whole cluster, and taken back."""
import hashlib
import json
import random
import re

import pytest

import weir
from weir import message, wait_until

HAM = ["Der Bericht zur Sitzung vom Montag liegt bei", "the minutes of our meeting are attached", "kannst du mir die Folien schicken", "see you at the seminar",
       "Die Vorlesung beginnt um zehn", "the compiler warns about that line"]
SPAM = ["Gewinnen Sie jetzt eine goldene Uhr", "cheap golden watches delivered tomorrow", "exklusive Rabatte nur heute", "your watch collection awaits",
        "Uhren zum halben Preis", "replica straps discounted again"]


def mails(kind, count, seed=1):
    """Messages of that vocabulary, each another one, and the same ones each time: where a model's threshold stands is to be no matter of chance."""
    chosen, tokens = random.Random(seed), random.Random(f"{kind[0]}, {seed}")
    return [message(subject=f"{kind[0].split()[0]} {seed} {i}", body=" ".join(chosen.sample(kind, 3)) + f" {chosen.random()}\r\n", token=f"{tokens.getrandbits(64):016x}")
            for i in range(count)]


def mbox(path, raws):
    path.write_bytes(b"".join(b"From someone@example.org Mon Jan  1 00:00:00 2024\n" + raw.replace(b"\r\n", b"\n") + b"\n\n" for raw in raws))
    return path


@pytest.fixture(scope="module")
def site():
    made = weir.Cluster(edges=1, scanners=2, spam="native", sets=["edge.workers=1", "learn_interval=2s", "learn_user_daily=3"])
    try:
        yield made.up()
    finally:
        made.down()


def ask(site, *words):
    return json.loads(site.weirctl("--json", *words).stdout)


def is_learned(site):
    status = ask(site, "learn", "status")
    return status if status["waiting"] == 0 and status["built"] == status["changes"] else None


def learned(site, **events):
    status = wait_until(lambda: is_learned(site), 90, "a model of all that was taught")
    assert {name: status["events"].get(name, 0) for name in events} == events, status
    return status


def in_use(site, model):
    """Each scanner has said so, and of none since."""
    for name in ("scanner-1", "scanner-2"):
        wait_until(lambda n=name: re.findall(r"model ([0-9a-f]{12}) is in use", site.log(n))[-1:] == [model[:12]], 60, f"{name} has the model")


def score(site, path):
    found = ask(site, "score", path)
    return found["score"], {symbol["symbol"]: symbol["weight"] for symbol in found["symbols"]}


def test_what_operators_teach_is_known_everywhere_and_can_be_taken_back(site, tmp_path):
    spam, ham = tmp_path / "spam.eml", tmp_path / "ham.eml"
    spam.write_bytes(mails(SPAM, 1, seed=7)[0])
    ham.write_bytes(mails(HAM, 1, seed=7)[0])
    assert "LEARNED_SPAM" not in score(site, spam)[1], "nothing was learned yet"
    assert ask(site, "learn", "spam", mbox(tmp_path / "spams", mails(SPAM, 52))) == {"messages": 52, "queued": 52, "known": 0, "failed": 0}
    assert "52 of 52" in site.weirctl("learn", "ham", mbox(tmp_path / "hams", mails(HAM, 52))).stdout
    status = learned(site, counted=104)
    assert (status["ham"], status["spam"], status["refused"]) == (52, 52, "")
    said = lambda: re.findall("52 messages of ham, 52 of spam, moved by ([+-][0-9.]+)", "".join(log.read_text(errors="replace") for log in site.dir.rglob("coordinator-*.log")))  # noqa: E731
    assert float(wait_until(said, 30, "the model is announced")[-1]) != 0, "where its threshold stands was looked at with what it learned, left out"
    assert ask(site, "learn", "spam", tmp_path / "spams")["known"] == 52, "one message counts once"
    in_use(site, status["model"])
    total, symbols = score(site, spam)
    assert total >= 50 and symbols["LEARNED_SPAM"] >= 45, symbols
    assert score(site, ham)[1].get("LEARNED_HAM", 0) < 0
    assert re.search(r"native +\d+\.\d\d +LEARNED_SPAM +p=", site.weirctl("score", spam).stdout)
    raw = mails(SPAM, 1, seed=8)[0]
    site.send(raw)
    wait_until(lambda: site.query("SELECT symbols FROM quarantine_copy WHERE symbols LIKE '%LEARNED_SPAM%'"), 30, "it is taken for spam on its way")

    ident, = site.query("SELECT id FROM quarantine_copy")[0]
    site.weirctl("quarantine", "release", ident)
    learned(site, counted=105)
    released = ask(site, "learn", "list", "--limit", "1")[0]
    assert (released["label"], released["source"], released["state"]) == ("ham", "quarantine", "counted"), "a release says that it is no spam"

    site.stop("scanner-1")
    site.start("scanner-1")
    assert "is in use, as before" in site.log("scanner-1"), "a scanner that is started again has it at once"

    number = str(released["number"])
    assert ask(site, "learn", "undo", number) == {"undone": 1}
    learned(site, counted=104, undone=1)
    assert site.weirctl("learn", "undo", number, check=False).returncode == 65
    assert site.weirctl("learn", "undo", check=False).returncode == 64
    assert site.weirctl("learn", "spam", tmp_path / "none", check=False).returncode == 66
    what_was_taught_before_an_upgrade_is_not_silently_forgotten(site, tmp_path, spam)


def what_was_taught_before_an_upgrade_is_not_silently_forgotten(site, tmp_path, spam):
    """As if it had been another version until now: only the rows say so, so scanners can read the model of before."""
    version, = site.query("SELECT DISTINCT version FROM learn_event")[0]
    before = learned(site)["model"]
    anew = "; UPDATE learn_control SET changes = changes + 1, ceased = changes + 1"
    site.query("UPDATE learn_event SET version = version - 1; UPDATE learn_model SET version = version - 1" + anew)
    status = learned(site)
    assert (status["model"], status["outdated"], status["events"].get("counted", 0)) == (before, 104, 0), "better a model of before than none"
    assert "104 words are of the version before: teach them again" in site.weirctl("learn", "status").stdout
    wait_until(lambda: site.metric("weir_learn_outdated") == 104 and site.metric("weir_learn_messages") == 0, 30, "metrics say so")
    assert {one["state"] for one in ask(site, "learn", "list", "--limit", "104")} == {"outdated", "undone"}
    assert score(site, spam)[1]["LEARNED_SPAM"] >= 45, "it serves on"
    text = (tmp_path / "spams").read_bytes()
    (tmp_path / "again").write_bytes(text[:text.index(b"\n\nFrom ") + 2])
    assert ask(site, "learn", "spam", tmp_path / "again")["queued"] == 1, "it can be taught again"
    status = learned(site, counted=1)
    assert status["model"] not in (before, "") and (status["outdated"], status["spam"]) == (103, 1), status
    assert ask(site, "learn", "spam", tmp_path / "again")["known"] == 1, "once"
    old = "SELECT learn_told('old', job, %s, '', NULL, '', false) FROM learn_claim('old'); SELECT state, result->>'why' FROM learn_queue ORDER BY id DESC LIMIT 1"
    told = site.query("BEGIN; SELECT became FROM learn_put('ham', 'x', false, 'test', '', '{}', 'early'); " + old % (int(version) - 1) + "; ROLLBACK")
    assert told[-1] == ["given", f"old takes features of version {int(version) - 1}, which the leader counts no more: it is to be upgraded"], "the next scanner is asked"
    site.query(f"DELETE FROM learn_event WHERE version = {version}; UPDATE learn_event SET version = {version}; UPDATE learn_model SET version = {version}" + anew)
    assert learned(site, counted=104)["model"] == before
    assert site.query(f"SELECT (SELECT count(*) FROM learn_trial(250, {version}, 0, 0)), (SELECT count(*) FROM learn_trial(250, {version}, changes, 0)) FROM learn_control") == [
        ["0", "104"]], "what counts since the model was made is not left out of it"
    in_use(site, before)


def test_a_model_that_is_none_is_refused(site, tmp_path):
    before = learned(site)["model"]
    bad = b"\0" * int(site.query(f"SELECT size FROM learn_model WHERE hash = '{before}'")[0][0])
    name = hashlib.sha256(bad).hexdigest()
    site.query(f"INSERT INTO learn_model (hash, size, version, made_by, ham, spam) SELECT '{name}', size, version, 'evil', 0, 0 FROM learn_model WHERE hash = '{before}'")
    for place in range(0, len(bad), 1 << 20):
        site.query(f"INSERT INTO learn_model_chunk VALUES ('{name}', {place >> 20}, decode(repeat('00', {min(1 << 20, len(bad) - place)}), 'hex'))")
    site.query(f"UPDATE learn_control SET model = '{name}'")
    for scanner in ("scanner-1", "scanner-2"):
        wait_until(lambda n=scanner: f"model {name[:12]} is not used: it is no model" in site.log(n), 60, "it is refused")
        wait_until(lambda n=scanner: site.metric("weir_learned_refused", node=n) == 1, 30, "the metric says so")
    spam = tmp_path / "spam.eml"
    spam.write_bytes(mails(SPAM, 1, seed=9)[0])
    assert score(site, spam)[1]["LEARNED_SPAM"] >= 45, "the one before serves on"
    site.query(f"UPDATE learn_control SET model = '{before}'")


def test_what_contradicts_itself_is_not_published(site, tmp_path):
    learned(site)
    for raw in mails(SPAM, 3, seed=30):
        site.query(f"SELECT learn_put('ham', 'eve@example.edu', true, 'test', '', '{{}}', decode('{raw.hex()}', 'hex'))")
    assert learned(site, counted=107)["refused"] == "", "a user, whose words are bounded, keeps no model back"
    assert ask(site, "learn", "undo", "--by", "Eve@example.edu") == {"undone": 3}
    site.query("DELETE FROM learn_queue WHERE who = 'eve@example.edu'")
    assert site.weirctl("learn", "ham", mbox(tmp_path / "wrong", mails(SPAM, 4, seed=20))).returncode == 0
    status = learned(site)
    assert re.match(r"it calls \d of 56 messages spam that operators taught it as ham: more than learn_refuse \(5 %\)", status["refused"]), status
    assert status["ham"] < 56, "the one in use is of before the last of them"
    wait_until(lambda: site.metric("weir_learn_refused") == 1, 30, "the metric says so")
    for one in ask(site, "learn", "list", "--limit", "4"):
        site.weirctl("learn", "undo", str(one["number"]))
    assert learned(site, counted=104)["refused"] == "", "what is taken back is as if it had never been said"


def put(site, label, who, body, personal=True):
    return site.query(f"SELECT became FROM learn_put('{label}', '{who}', {personal}, 'test', '', '{{}}', convert_to('Subject: {body}', 'UTF8'))")[0][0]


def states(site, body):
    return dict(site.query(f"SELECT who, state FROM learn_event WHERE digest = sha256(convert_to('Subject: {body}', 'UTF8')) ORDER BY id"))


def test_users_are_bounded_and_contradictions_cancel(site, tmp_path):
    assert [put(site, "spam", "eve@example.edu", f"daily {i}") for i in range(4)] == ["queued"] * 3 + ["limit"]
    assert put(site, "spam", "Eve+tag+more@example.edu", "daily 5") == "limit" and put(site, "spam", "eve@example.edu", "daily 0") == "known", "a tag makes no other user"
    assert site.query("SELECT learn_person('+a+b@Example.edu'), learn_person('a-b@example.edu'), learn_person('Dean')") == [["+a+b@example.edu", "a-b@example.edu", "dean"]]
    # Who owns a domain that goes to a next hop of his own is one user there, however many mailboxes he says that it has.
    assert [put(site, "spam", f"{who}@customer.example", "of a domain") for who in "abcd"] == ["queued"] * 3 + ["limit"]
    assert put(site, "spam", "fay@example.edu", "of a domain") == "queued", "in a domain of local-host-names each is one of his own"
    assert put(site, "spam", "alice@example.edu", "both") == "queued"
    assert put(site, "spam", "alice@example.edu", "both") == "known"
    assert put(site, "ham", "bob@example.edu", "both") == "queued"
    assert site.query("BEGIN; INSERT INTO policy (epoch, applied_by) SELECT coalesce(max(epoch), 0) + 1, 'test' FROM policy;"
                      " INSERT INTO policy_file SELECT max(epoch), 'recipient_delimiter', E'# tags\n-_\n' FROM policy; SELECT learn_person('a_b-c+d@example.edu'); ROLLBACK") == [["a@example.edu"]]
    learned(site)
    assert set(states(site, "both").values()) == {"conflict"}, "neither counts"
    assert site.query("SELECT count(*), count(DISTINCT part), count(*) FILTER (WHERE state = 'counted') <= 1 FROM learn_event WHERE who LIKE '%@customer.example'") == [["3", "1", "t"]]
    assert "counted" in states(site, "of a domain").values(), "they agree with themselves only"
    assert put(site, "ham", "Dean", "both", personal=False) == "queued"
    learned(site)
    assert states(site, "both") == {"alice@example.edu": "conflict", "bob@example.edu": "conflict", "Dean": "counted"}, "an operator knows better"
    assert [one["who"] for one in ask(site, "learn", "list", "--by", "dean")] == ["Dean"], "however it is spelled"
    assert ask(site, "learn", "undo", "--by", "dean") == {"undone": 1}
    learned(site)
    assert states(site, "both") == {"alice@example.edu": "conflict", "bob@example.edu": "conflict", "Dean": "undone"}
    assert ask(site, "learn", "undo", "--by", "Eve+other@example.edu") == {"undone": 3}
    assert site.query("BEGIN; INSERT INTO policy (epoch, applied_by) SELECT coalesce(max(epoch), 0) + 1, 'test' FROM policy; INSERT INTO policy_file SELECT max(epoch), t.name, t.content FROM policy,"
                      " (VALUES ('mailertable', E'.customer.example smtp:[a.example]\n.lab.customer.example smtp:[b.example]\n'), ('local-host-names', E'# ours\n Example.edu # all\n'))"
                      " AS t (name, content) GROUP BY 2, 3; SELECT learn_bound('a@x.customer.example'), learn_bound('a@customer.example'), learn_bound('a@y.lab.customer.example'),"
                      " learn_bound('a@example.edu'), learn_bound('a@exampleXedu'), learn_bound('dean'); ROLLBACK") == [
        ["@customer.example", "@customer.example", "@lab.customer.example", "a@example.edu", "@exampleXedu", "dean"]]
    assert {one["who"] for one in ask(site, "learn", "list", "--by", "@Customer.example")} == {f"{who}@customer.example" for who in "abc"}
    assert ask(site, "learn", "undo", "--by", "@Customer.example") == {"undone": 3}
    assert site.query("SELECT count(*) FROM learn_event WHERE who = 'eve@example.edu' AND state <> 'undone'") == [["0"]]
    assert site.query("UPDATE learn_control SET queue_max = 0; SELECT became FROM learn_put('ham', 'x', false, 'test', '', '{}', 'full')")[-1] == ["full"]
    told = "SELECT learn_told('slow', (SELECT max(id) FROM learn_queue), 2, '', NULL, 'no room', true); SELECT state, tries, body <> '', result->>'why' FROM learn_queue WHERE who = 'slow'"
    assert [row for row in site.query(f"UPDATE learn_control SET queue_max = 1000; SELECT became FROM learn_put('ham', 'slow', false, 'test', '', '{{}}', 'again'); "
                                      f"SELECT job > 0 FROM learn_claim('slow'); {told}; UPDATE learn_queue SET tries = 3 WHERE who = 'slow'; {told}") if row != [""]] == [
        ["queued"], ["t"], ["given", "1", "t", "no room"], ["failed", "3", "f", "no room"]], "a scanner without room is not the last one asked"
    (tmp_path / "large").write_bytes(b"x" * ((1 << 20) + 1))
    refused = site.weirctl("learn", "spam", tmp_path / "large", check=False)
    assert refused.returncode == 65 and "larger than learn_message_size" in refused.stderr
    site.query("SELECT learn_turn(1000, 1048576, 3, 60, 2)")
    assert site.query("SELECT count(*), min(id) > 40 FROM learn_event") == [["60", "t"]], "the oldest are forgotten"
    one = "INSERT INTO learn_event (id, at, who, personal, part, label, source, origin, digest, version, features, state) SELECT %s, now(), %s, true, 1, 'ham', 'test', '', %s, 2, '', %s"
    site.query((one % (-1, "'first@example.edu'", "'twice'", "'counted'")) + "; " + (one % ("1000000 + i", "'u' || i", "int4send(i)", "'counted'")) + " FROM generate_series(1, 99) i; "
               + (one % (2000000, "'second@example.edu'", "'twice'", "'repeat'")) + "; SELECT learn_turn(1000, 1048576, 3, 60, 2)")
    assert site.query("SELECT personal, count(*) FROM learn_event GROUP BY 1 ORDER BY 1") == [["f", "30"], ["t", "30"]], "users leave operators their half"
    assert site.query("SELECT who, state FROM learn_event WHERE digest = 'twice'") == [["second@example.edu", "counted"]], "what it repeated is forgotten, it is not"
