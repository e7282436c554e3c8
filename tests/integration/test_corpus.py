"""Real mail and every MIME oddity, byte for byte, by DATA and by BDAT, in odd segmentations."""
import concurrent.futures
import email.message
import email.policy
import pathlib
import random
import re
import shutil
import threading

from weir import EICAR, Smtp, strip_added, wait_until


def crlf(raw):
    """As a client must send it: line ends are CRLF; what is then still a bare CR or a NUL is not legal on this listener."""
    raw = re.sub(rb"\r\n|\n", b"\r\n", raw)
    if not raw.endswith(b"\r\n"):
        raw += b"\r\n"
    return raw


def is_strict(raw):
    return b"\x00" not in raw and not re.search(rb"\r(?!\n)", raw)


def relay_all(cluster, paths, seed):
    work = list(enumerate(path for path in paths for _ in ("DATA", "BDAT")))
    problems, expected = [], {}
    lock = threading.Lock()

    def run(edge):
        dice = random.Random(seed + edge)
        client, turns = None, 0
        while True:
            with lock:
                if not work:
                    break
                number, path = work.pop()
            turns += 1
            if client and turns % 100 == 0:  # a session has a limit of commands
                client.close()
                client = None
            raw = crlf(path.read_bytes())
            marker = f"corpus-{number}@example.edu"
            if client is None:
                client = Smtp(cluster.relay(edge), timeout=120)
            client.envelope(recipients=[marker])
            if number % 2:
                answer = client.bdat(raw, [dice.choice([7, 100, 1000, 4096, 65536]) * (1 + len(raw) // 200000) for _ in range(5)])
            else:
                answer = client.data(raw, [dice.choice([1, 3, 17, 1460, 65536]) * (1 + len(raw) // 20000) for _ in range(5)])
            if answer.code == 250:
                expected[marker] = path, raw
            if (answer.code == 250) != is_strict(raw) or not is_strict(raw) and not repr(answer).startswith("<550 5.6.0"):
                problems.append((str(path), answer))
            if answer.code >= 400:
                client.command("RSET")
        if client:
            client.close()

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(run, 1 + number % 2) for number in range(6)]:
            done.result()
    seen = {}
    for raw, envelope in cluster.sink.messages():
        if envelope["recipients"][0].startswith("corpus-"):
            assert envelope["recipients"][0] not in seen, "twice"
            seen[envelope["recipients"][0]] = strip_added(raw)
    problems += [(str(path), "differs" if marker in seen else "missing")
                 for marker, (path, raw) in expected.items() if seen.get(marker) != raw]
    return problems, len(seen)


def test_mime_vectors_relay_byte_for_byte(make_cluster, corpus):
    # Parts of split messages, mail that went round in circles and messages in messages in messages are refused by default,
    # which is tested elsewhere.
    cluster = make_cluster(edges=2, scanners=2, sets=["block_partial=off", "max_hops=1000", "max_recursion=100"])
    paths = sorted(path for path in pathlib.Path(corpus, "vectors/mime").rglob("*")
                   if path.is_file() and path.suffix not in (".json", ".xml", ".out", ".tsv"))
    assert len(paths) > 1500
    problems, count = relay_all(cluster, paths, 1)
    # Some vectors carry EICAR on purpose; those are refused for that and nothing else.
    viruses = [(path, answer) for path, answer in problems if "<550 5.7.1 Message refused: virus Eicar" in repr(answer)]
    problems = [problem for problem in problems if problem not in viruses]
    assert not problems, "\n".join(map(repr, problems))
    carriers = [str(path) for path in paths if re.search(b"EICAR|WDVPIVAlQE", path.read_bytes())]
    assert carriers and sorted(path for path, _ in viruses) == sorted(2 * carriers), "by DATA and by BDAT, all that have one and no others"
    print(f"{count} vectors relayed, {len(viruses)} refused as virus")


def test_clamav_own_test_files_as_attachments(make_cluster, corpus, tmp_path):
    """Everything ClamAV wants to be found is refused with the name; what it wants to be clean arrives byte for byte."""
    own = pathlib.Path(corpus, "vectors/clamav")
    tmp_path.chmod(0o755)
    shutil.copy(own / "repo/input/clamav.hdb", tmp_path)
    (tmp_path / "eicar.ndb").write_text(f"Eicar-Test-Signature:0:*:{EICAR.hex()}\n")  # what a new generation must find before it serves
    cluster = make_cluster(edges=1, scanners=1, signatures=tmp_path, sets=["max_recursion=100"])  # attached, a file lies deeper than alone
    rows = [line.split("\t") for line in (own / "EXPECTED.tsv").read_text().splitlines()[1:]]
    assert len(rows) > 100 and len({expected for _, expected in rows}) > 1
    wrong, clean = [], {}
    with Smtp(cluster.relay()) as client:
        for number, (name, expected) in enumerate(rows):
            mail = email.message.EmailMessage()
            mail["From"], mail["To"], mail["Subject"] = "sender@example.org", "alice@example.edu", name
            mail.set_content("See the attachment.\n")
            mail.add_attachment((own / name).read_bytes(), maintype="application", subtype="octet-stream", filename=f"{number}.bin")
            raw = mail.as_bytes(policy=email.policy.SMTP)
            client.envelope(recipients=[f"clamav-{number}@example.edu"])
            answer = client.data(raw)
            said = "OK" if answer.code == 250 else answer.text
            if answer.code == 250:
                clean[f"clamav-{number}@example.edu"] = raw
            fits = answer.code == 250 if expected == "OK" else answer.code == 550 and f"virus {expected} found" in answer.text
            if not fits:
                wrong.append((name, expected, said))
    assert not wrong, "\n".join(map(str, wrong))
    assert {envelope["recipients"][0]: strip_added(raw) for raw, envelope in cluster.sink.messages()} == clean
    assert len(clean) >= 60 and len(rows) - len(clean) >= 55
    print(f"{len(rows)} files: {len(clean)} arrived, {len(rows) - len(clean)} refused by name")


def test_dev_mail_relays_byte_for_byte(make_cluster, corpus):
    cluster = make_cluster(edges=2, scanners=2)
    paths = sorted(pathlib.Path(corpus, "dev").rglob("*.eml"))
    assert len(paths) > 5000
    problems, count = relay_all(cluster, paths, 2)
    assert not problems, problems[:5]
    print(f"{count} real messages relayed")
    wait_until(lambda: cluster.metric("weir_conservation_difference") == 0, what="conservation")
