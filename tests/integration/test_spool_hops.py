"""Other people's next hops behind the spool: a real Postfix, and its smtp-sink in every mood. Each recipient comes to the end that the next hop's
answers mean, in one copy; who sent it is told when it went wrong; nothing is lost count of."""
import contextlib
import email
import email.policy
import re
import shutil

import pytest

from postfix import NOBODY, Postfix, smtp_sink
from weir import Smtp, free_base_port, message, strip_added, wait_until

QUICK = ["spool_retry_min=500ms", "spool_retry_max=1s"]


def route(cluster, **ports):
    """NAME.example.net goes to that port of this machine; returns when the edge does so."""
    table = cluster.dir / "policy" / "mailertable"
    lines = "".join(f"{name}.example.net\tsmtp:[127.0.0.1]:{port}\n" for name, port in ports.items())
    table.write_text(lines + table.read_text())
    cluster.apply_policy()


def hand_in(cluster, raw, recipients, sender="sender@example.org"):
    with Smtp(cluster.env["EDGE_1_HANDOFF"]) as device:
        assert {answer.code for answer in device.envelope(sender, recipients)} == {250}
        answer = device.data(raw)
        assert answer.code == 250, answer
        return answer.queue_id


def told(cluster, queue_id, recipient):
    """What the log says of each try for it: [(dsn, status, words)]."""
    return re.findall(rf"{queue_id}: to=<{re.escape(recipient)}>, .*dsn=([\d.]+), status=(\w+) \((.*)\)", cluster.log("edge-1"))


def wait_end(cluster, queue_ids):
    def left():
        log = cluster.log("edge-1")
        return [queue_id for queue_id in queue_ids if f"{queue_id}: removed" not in log]
    wait_until(lambda: not left(), 90, "the end of all")


def reports(cluster, sender):
    """{recipient: (action, status)} of all that its sender was told, and how many reports there were."""
    found, count = {}, 0
    for raw, envelope in cluster.sink.messages():
        if envelope["recipients"] == [sender]:
            assert envelope["sender"] == ""
            report = email.message_from_bytes(raw, policy=email.policy.SMTP)
            _, status, _ = report.iter_parts()
            for fields in status.get_payload()[1:]:
                found[fields["Final-Recipient"].removeprefix("rfc822; ")] = (fields["Action"], fields["Status"])
            count += 1
    return found, count


def conserved(cluster):
    wait_until(lambda: cluster.metric("weir_conservation_difference") == 0, 30, "conservation")
    wait_until(lambda: cluster.query("SELECT count(*) FROM spool_message") == [["0"]], 30, "an empty spool")


# ---- smtp-sink ----

MODES = {  # what the first try ends as
    "": "sent", "-e": "sent", "-p": "sent", "-8": "sent", "-E": "sent", "-P": "sent", "-N": "sent", "-F": "sent", "-C": "sent", "-a": "sent",
    "-h another.example.net": "sent", "-H 1": "sent", "-T 2048": "sent", "-w 1": "sent", "-W CONNECT:1": "sent", "-W RCPT:1": "sent", "-W .:1": "sent",
    "-f EHLO": "sent", "-f QUIT": "sent", "-q QUIT": "sent", "-Q QUIT": "sent",
    "-q CONNECT": "deferred", "-q EHLO": "deferred", "-q MAIL": "deferred", "-q RCPT": "deferred", "-q DATA": "deferred", "-q .": "deferred",
    "-Q CONNECT": "deferred", "-Q EHLO": "deferred", "-Q MAIL": "deferred", "-Q RCPT": "deferred", "-Q DATA": "deferred", "-Q .": "deferred",
    "-r CONNECT": "deferred", "-r EHLO,HELO": "deferred", "-r MAIL": "deferred", "-r RCPT": "deferred", "-r DATA": "deferred", "-r .": "deferred",
    "-f CONNECT": "deferred", "-f EHLO,HELO": "deferred",
    "-f MAIL": "bounced", "-f RCPT": "bounced", "-f DATA": "bounced", "-f .": "bounced", "-A 0": "bounced",
}


class Sinks(contextlib.ExitStack):
    """An smtp-sink for each name; what it took is a file in folder/NAME. Its port is free while it is away, and nobody else's."""

    def __init__(self, folder, names):
        super().__init__()
        self.folder, self.block, self.running = folder, free_base_port(), {}
        self.ports = {name: self.block + number for number, name in enumerate(names)}
        folder.mkdir()

    def begin(self, name, mode=""):
        if name in self.running:
            self.running.pop(name).close()
            shutil.rmtree(self.folder / name)
        (self.folder / name).mkdir()
        (self.folder / name).chmod(0o777)  # smtp-sink is somebody else
        self.running[name] = self.enter_context(contextlib.ExitStack())
        self.running[name].enter_context(smtp_sink(self.ports[name], *mode.split(), "-d", f"{self.folder}/{name}/"))

    def kept(self, name):
        return [path.read_bytes() for path in (self.folder / name).iterdir()]


@pytest.mark.sanitized
def test_smtp_sink_in_every_mood_behind_the_spool(make_cluster):
    names = {f"m{number}": mode for number, mode in enumerate(MODES)}
    ids = {}
    cluster = make_cluster(edges=1, scanners=1, sets=[*QUICK, "next_hop_tls=none"])
    with Sinks(cluster.dir / "sinks", names) as sinks:
        for name, mode in names.items():
            sinks.begin(name, mode)
        route(cluster, **sinks.ports)
        who = {name: f"who@{name}.example.net" for name in names}
        for name in names:
            ids[name] = hand_in(cluster, message(token=f"mood-{name}-", size=20000), [who[name]], f"{name}@example.org")
        wait_until(lambda: all(told(cluster, ids[name], who[name]) for name in names), 90, "a try of each")
        wrong = {mode: told(cluster, ids[name], who[name])[0] for name, mode in names.items() if told(cluster, ids[name], who[name])[0][1] != MODES[mode]}
        assert not wrong
        late = [name for name, mode in names.items() if MODES[mode] == "deferred"]
        assert {dsn[0] for name in late for dsn, _, _ in told(cluster, ids[name], who[name])} == {"4"}
        for name in late:  # they come to their senses
            sinks.begin(name)
        wait_end(cluster, ids.values())
        for name, mode in names.items():
            *_, (dsn, status, words) = told(cluster, ids[name], who[name])
            copies = sinks.kept(name)
            if MODES[mode] == "bounced":
                assert status == "bounced" and dsn[0] == "5", (mode, words)
                answer, = wait_until(lambda name=name: reports(cluster, f"{name}@example.org")[0].items(), 60, f"the report of {mode}")
                assert answer == (who[name], ("failed", dsn)), mode
                assert len(told(cluster, ids[name], who[name])) == 1, "nobody asks twice"
            else:
                assert status == "sent" and len(copies) == 1 and f"mood-{name}-".encode() in copies[0], (mode, words, len(copies))
        assert cluster.sink.count() == sum(mode == "bounced" for mode in MODES.values()), "reports, and nothing else"
        conserved(cluster)


def test_a_mood_that_does_not_pass_ends_in_a_report(make_cluster):
    """4xx, 421 and silence for as long as the message may live: one report each."""
    names = {"soft": "-r RCPT", "closing": "-Q MAIL", "silent": "-q DATA", "away": "-q CONNECT", "refused": "-f CONNECT"}
    cluster = make_cluster(edges=1, scanners=1, sets=[*QUICK, "next_hop_tls=none", "spool_life=5s"])
    with Sinks(cluster.dir / "sinks", names) as sinks:
        for name, mode in names.items():
            sinks.begin(name, mode)
        route(cluster, **sinks.ports)
        ids = {name: hand_in(cluster, message(), [f"who@{name}.example.net"], f"{name}@example.org") for name in names}
        wait_end(cluster, ids.values())
        for name in names:
            found, _ = wait_until(lambda name=name: (lambda pair: pair[1] and pair)(reports(cluster, f"{name}@example.org")), 60, f"the report of {name}")
            (recipient, (action, status)), = found.items()
            assert (recipient, action) == (f"who@{name}.example.net", "failed"), name
            print(name, status, told(cluster, ids[name], recipient)[-1])
        conserved(cluster)
        assert cluster.sink.count() == len(names)


# ---- Postfix ----

def test_S73_postfix_behind_the_spool(make_cluster, tmp_path):
    """A department's Postfix that grey-lists, is too small, counts recipients and errors, and is away for a while."""
    people = ["alice", "bob", *(f"user{number}" for number in range(7))]
    access = tmp_path / "access"
    tmp_path.chmod(0o755)
    access.write_text("bob@dept.example.net 450 4.2.0 grey-listed\n")
    boxes = {"virtual_mailbox_domains": "dept.example.net", "virtual_uid_maps": f"static:{NOBODY}", "virtual_gid_maps": f"static:{NOBODY}",
             "virtual_mailbox_maps": "inline:{" + " ".join(f"{{{name}@dept.example.net={name}/}}" for name in people) + "}",
             "message_size_limit": "200000", "smtpd_recipient_limit": "3", "smtpd_hard_error_limit": "3", "smtpd_error_sleep_time": "0",
             "smtpd_recipient_restrictions": f"check_recipient_access texthash:{access}, permit_mynetworks, reject"}
    with Postfix(listens=True, **boxes) as postfix:
        cluster = make_cluster(edges=1, scanners=1, sets=QUICK)
        route(cluster, dept=postfix.port)

        def to(*names):
            return [f"{name}@dept.example.net" for name in names]

        raw = message("Gr\u00fc\u00dfe\r\n.\r\n..\r\n" + "x" * 900 + "\r\n", token="behind-the-spool")
        first = hand_in(cluster, raw, to("alice", "nobody", "bob"))
        wait_until(lambda: all(told(cluster, first, recipient) for recipient in to("alice", "nobody", "bob")), 60, "an answer for each")
        assert told(cluster, first, *to("alice"))[0][1] == "sent"
        assert told(cluster, first, *to("nobody"))[0][:2] == ("5.1.1", "bounced") and told(cluster, first, *to("bob"))[0][:2] == ("4.2.0", "deferred")
        access.write_text("")
        postfix.command("reload")
        many = hand_in(cluster, message(token="many"), to(*people[2:]))
        errors = hand_in(cluster, message(token="errors"), to(*(f"none{number}" for number in range(9)), "alice"), "errors@example.org")
        large = hand_in(cluster, message(token="large", size=300000), to("alice"), "large@example.org")
        wait_end(cluster, [first, many, errors, large])
        assert told(cluster, large, *to("alice"))[-1][:2] == ("5.3.4", "bounced")
        assert [told(cluster, errors, recipient)[-1][1] for recipient in to(*(f"none{number}" for number in range(9)), "alice")] == ["bounced"] * 9 + ["sent"]
        assert wait_until(lambda: reports(cluster, "large@example.org")[0], 60, "a report") == {to("alice")[0]: ("failed", "5.3.4")}
        wait_until(lambda: len(reports(cluster, "errors@example.org")[0]) == 9, 60, "what became of each")
        assert wait_until(lambda: reports(cluster, "sender@example.org")[0], 60, "a report") == {to("nobody")[0]: ("failed", "5.1.1")}
        for name in ("alice", "bob"):
            copy, = wait_until(lambda name=name: [mail for mail in postfix.mail(name) if b"behind-the-spool" in mail], 60, f"{name}'s mail")
            rest = copy[copy.index(b"X-Virus-Scanned"):]
            assert b"id " + first.encode() in rest and strip_added(rest.replace(b"\n", b"\r\n")) == raw
        for name in people[2:]:
            wait_until(lambda name=name: len(postfix.mail(name)) == 1, 60, f"{name}'s mail")
        assert len(wait_until(lambda: [mail for mail in postfix.mail("alice") if b"errors" in mail], 60, "who was among them")) == 1
        postfix.command("stop")
        away = hand_in(cluster, message(token="away"), to("alice"))
        wait_until(lambda: any(status == "deferred" for _, status, _ in told(cluster, away, *to("alice"))), 60, "a deferral")
        postfix.command("start")
        wait_end(cluster, [away])
        assert len(wait_until(lambda: [mail for mail in postfix.mail("alice") if b"away" in mail], 60, "what waited")) == 1
        conserved(cluster)
