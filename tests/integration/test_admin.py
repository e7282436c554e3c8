"""What operators do: weirctl, drains, gc, keys, metrics, trace, configuration."""
import contextlib
import json
import re
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest

import weir
from coordinators import hold_port
from weir import Smtp, message, wait_until


@pytest.mark.sanitized
def test_status_and_nodes(cluster):
    text = cluster.weirctl("status").stdout
    for node in ("edge-1", "edge-2", "scanner-1", "scanner-2", "coordinator-1"):
        assert node in text
    nodes = cluster.nodes()
    assert {node["role"] for node in nodes.values()} == {"edge", "scanner", "coordinator"}
    assert all(node["state"] == "active" for node in nodes.values())


def test_weirctl_errors_are_clear(cluster):
    done = cluster.weirctl("drain", "scaner-1", check=False)
    assert done.returncode != 0 and "scanner-1" in done.stderr, "the nearest name is suggested"
    done = cluster.weirctl("nonsense", check=False)
    assert done.returncode == 64
    done = subprocess.run([weir.BIN / "weirctl", "-c", "/nonexistent/weir.conf", "status"], capture_output=True, text=True)
    assert done.returncode != 0 and "/nonexistent/weir.conf" in done.stderr


def test_drained_scanner_gets_nothing_and_it_survives_restarts(make_cluster):
    cluster = make_cluster(edges=1, scanners=2)
    cluster.weirctl("drain", "--wait", "scanner-1")
    assert cluster.nodes()["scanner-1"]["state"] == "drained"
    refused = cluster.weirctl("drain", "scanner-2", check=False)
    assert refused.returncode == 77 and "--force" in refused.stderr
    for node in ("scanner-1", "coordinator-1"):
        cluster.kill(node)
        cluster.start(node)
    cluster.wait_state("scanner-1", "drained")
    before, other = (cluster.metric("weir_scans_total", node=node) or 0 for node in ("scanner-1", "scanner-2"))
    for _ in range(20):
        assert cluster.send(message()).code == 250
    wait_until(lambda: cluster.metric("weir_scans_total", node="scanner-2") >= other + 20, 30, "all of them at scanner-2")
    assert (cluster.metric("weir_scans_total", node="scanner-1") or 0) == before
    cluster.weirctl("undrain", "scanner-1")
    cluster.wait_state("scanner-1", "active")
    wait_until(lambda: cluster.send(message()).code == 250 and (cluster.metric("weir_scans_total", node="scanner-1") or 0) > before,
               what="scanner-1 takes work again")


@pytest.mark.sanitized
def test_drained_edge_finishes_its_sessions(make_cluster):
    cluster = make_cluster(edges=2, scanners=1)
    with Smtp(cluster.relay(1)) as session:
        session.envelope()
        cluster.weirctl("drain", "edge-1")
        wait_until(lambda: Smtp(cluster.relay(1)).greeting.text.startswith("4.3.2"), what="421 4.3.2 to new sessions")
        cluster.wait_state("edge-1", "draining")
        assert session.data(message()).code == 250
        session.command("QUIT")
    cluster.weirctl("drain", "--wait", "edge-1")
    assert cluster.nodes()["edge-1"]["state"] == "drained"
    assert cluster.send(message(), edge=2).code == 250
    cluster.kill("edge-1")
    cluster.start("edge-1")
    wait_until(lambda: Smtp(cluster.relay(1)).greeting.code == 421, what="still drained after a restart")
    cluster.weirctl("undrain", "edge-1")
    wait_until(lambda: Smtp(cluster.relay(1)).greeting.code == 220, what="edge-1 serves again")


def test_gc_makes_a_new_generation(cluster):
    before = wait_until(lambda: cluster.metric("weir_generation", node="scanner-1"), what="the generation")
    cluster.weirctl("gc", "--wait", "scanner-1")
    wait_until(lambda: cluster.metric("weir_generation", node="scanner-1") > before, what="a higher generation")
    cluster.kill("scanner-1", weir.signal.SIGHUP)
    wait_until(lambda: cluster.metric("weir_generation", node="scanner-1") > before + 1, what="one more by SIGHUP")


def test_broken_signatures_keep_the_old_generation(make_cluster):
    cluster = make_cluster(edges=1, scanners=1)
    before = wait_until(lambda: cluster.metric("weir_generation", node="scanner-1"), what="the generation")
    (cluster.dir / "signatures" / "broken.ndb").write_text("this is no signature\n")
    cluster.kill("scanner-1", weir.signal.SIGHUP)
    wait_until(lambda: cluster.metric("weir_generation_failures_total"), what="the failure in the metrics")
    assert cluster.metric("weir_generation", node="scanner-1") == before
    assert cluster.send(message(weir.EICAR.decode() + "\r\n")).code == 550
    assert cluster.send(message()).code == 250


# What dashboards and alerts are written against, with the labels of each: neither name nor label changes between releases.
SERIES = {
    "weir_smtp_sessions_total": "node listener result",
    "weir_smtp_replies_total": "node listener stage code",
    "weir_messages_total": "node direction disposition",
    "weir_message_size_bytes": "node",
    "weir_scan_duration_seconds": "node engine verdict",
    "weir_scan_unknown_total": "node reason",
    "weir_scanner_credits": "node",
    "weir_spool_messages": "state",
    "weir_spool_oldest_age_seconds": "state",
    "weir_delivery_attempts_total": "node class result",
    "weir_delivery_duration_seconds": "node",
    "weir_signature_age_seconds": "node db",
    "weir_signature_version_info": "node db version",
    "weir_node_state": "node state",
    "weir_conservation_difference": "node",
    "weir_tls_handshakes_total": "node version result",
    "weir_build_info": "node version",
    "process_cpu_seconds_total": "node",
    "process_max_fds": "node",
    "process_open_fds": "node",
    "process_resident_memory_bytes": "node",
    "process_start_time_seconds": "node",
}


def labels_of(text):
    """{name: {"label label ..." of one of its series}}; a histogram is known by its count."""
    seen = {}
    for name, labels in re.findall(r"^([a-z_]+?)(?:_count)?(?:\{(.*)\})? \S+$", text, re.M):
        seen.setdefault(name, set()).add(" ".join(re.findall(r'(\w+)="(?:[^"\\]|\\.)*"', labels)))
    return seen


def test_series_that_others_rely_on(cluster):
    with weir.Smtp(cluster.relay()) as client:
        client.starttls(cluster.dir / "tls/ca.pem")
        client.envelope()
        assert client.data(message()).code == 250

    def all_there():
        seen = labels_of(cluster.http("/metrics")[1])
        wrong = {name: seen.get(name) for name, labels in SERIES.items() if seen.get(name) != {labels}}
        assert wrong == {}
        return True
    wait_until(all_there, 30, "the series with their labels")
    for node in ("edge-1", "scanner-1", "coordinator-1"):
        assert cluster.metric("weir_build_info", node=node) == 1, "one for all processes of a node"
        started = cluster.metric("process_start_time_seconds", node=node)
        assert 0 < time.time() - started < 24 * 3600, (node, started)
        assert 0 < cluster.metric("process_open_fds", node=node) < cluster.metric("process_max_fds", node=node)
        assert cluster.metric("process_resident_memory_bytes", node=node) > 1 << 20
    wait_until(lambda: cluster.metric("weir_scanner_credits", node="scanner-1") == cluster.metric("weir_scanner_slots", node="scanner-1", state="free") > 0,
               what="the credits of an idle scanner")


def test_metrics_and_health(cluster, tmp_path):
    assert cluster.send(message()).code == 250
    wait_until(lambda: cluster.metric("weir_recipients_total", disposition="delivered"), what="delivered recipients")
    assert cluster.http("/livez")[0] == 200 and cluster.http("/readyz")[0] == 200
    names = ("weir_smtp_sessions_total", "weir_smtp_replies_total", "weir_messages_total", "weir_message_size_bytes_bucket",
             "weir_scan_duration_seconds_bucket", "weir_node_state", "weir_build_info", "weir_conservation_difference",
             "weir_delivery_attempts_total", "weir_signature_age_seconds")

    def all_there():  # nodes tell their series in parts
        status, text = cluster.http("/metrics")
        assert status == 200 and [name for name in names if f"\n{name}" not in text and not text.startswith(name)] == []
        return text
    text = wait_until(all_there, 30, "the series")
    assert "As counted by the nodes" not in text, "a series without words of its own in exposition_help.c"
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout
    wait_until(lambda: cluster.metric("weir_conservation_difference") == 0, what="conservation")


# Series that are there only when there is something to say: a copy in the quarantine, a list of own addresses, a former primary.
SOMETIMES = {"weir_quarantine_messages", "weir_own_address_listed", "weir_relay_test", "weir_relay_test_timestamp_seconds", "weir_signature_differs", "weir_spam_engine_paused",
             "weir_spam_engine_seconds_bucket", "weir_spam_engine_failures_total"}
PROMETHEUS = weir.ROOT / "deploy/prometheus"


def series_of(expression):
    return set(re.findall(r"\b(?:weir|process)_[a-z0-9_]+", expression))


def test_alerts_are_as_their_cases_say():
    done = subprocess.run(["promtool", "test", "rules", "weir.rules.test.yml"], cwd=PROMETHEUS, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    rules, cases = (PROMETHEUS / "weir.rules.yml").read_text(), (PROMETHEUS / "weir.rules.test.yml").read_text()
    for alert in re.findall(r"(?m)^ +- alert: (\w+)$", rules):
        assert len(re.findall(rf"(?m)^ +alertname: {alert}$", cases)) == 2, f"{alert} needs a case, and one of a cluster that is well"
    words = set(re.findall(r'(?m)^    \{ "([a-z_]+)",', (weir.ROOT / "coordinator/exposition_help.c").read_text()))
    assert {re.sub("_bucket$", "", name) for name in series_of(rules) | SOMETIMES} <= words


def test_prometheus_takes_rules_and_series_and_grafana_asks_for_them(cluster, tmp_path):
    assert cluster.send(message()).code == 250
    wait_until(lambda: cluster.metric("weir_recipients_total", disposition="delivered"), what="delivered recipients")
    target = cluster.env["COORDINATOR_1_HTTP"].removeprefix("http://")
    text = (PROMETHEUS / "prometheus.yml").read_text()
    pages = urllib.parse.urlsplit(cluster.env["WEB_1_METRICS"]).netloc
    assert "'127.0.0.1:7080'" in text and "'127.0.0.1:7091'" in text
    (tmp_path / "prometheus.yml").write_text(text.replace("127.0.0.1:7080", target).replace("127.0.0.1:7091", pages).replace(": 15s", ": 1s"))
    (tmp_path / "weir.rules.yml").write_text((PROMETHEUS / "weir.rules.yml").read_text())
    checked = subprocess.run(["promtool", "check", "config", tmp_path / "prometheus.yml"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    held = hold_port()
    port = held.getsockname()[1]
    with open(tmp_path / "log", "wb") as log:
        server = subprocess.Popen(["prometheus", f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data", f"--web.listen-address=127.0.0.1:{port}"],
                                  stdout=log, stderr=log, env=dict(weir.os.environ, GOMAXPROCS="1"))

    def ask(path, **fields):
        url = f"http://127.0.0.1:{port}/api/v1/{path}?{urllib.parse.urlencode(fields)}"
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=30 * weir.PATIENCE) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{fields}: {error.read().decode()}") from error
        except OSError:
            return {}
    try:
        wait_until(lambda: [one["health"] for one in ask("targets").get("activeTargets", [])] == ["up", "up"], 30, "it scrapes the coordinator and weir-web")
        wait_until(lambda: {rule["health"] for group in ask("rules")["groups"] for rule in group["rules"]} == {"ok"}, 30, "it has evaluated every rule")
        panels = json.loads((weir.ROOT / "deploy/grafana/weir.json").read_text())["panels"]
        expressions = [one["expr"].replace("$__rate_interval", "1m").replace("$node", ".*") for panel in panels for one in panel.get("targets", [])]
        wanted = set().union(*map(series_of, expressions)) - SOMETIMES

        def exported():  # nodes tell their series in parts
            missing = wanted - set(ask("label/__name__/values"))
            assert missing == set()
            return True
        wait_until(exported, 30, "the series that panels ask for")
        for expression in expressions:
            ask("query", query=expression)
        accepted = "sum(max by (node) (weir_recipients_accepted_total))"
        wait_until(lambda: float(ask("query", query=accepted)["result"][0]["value"][1]) >= 1, 30, "a recipient, as Prometheus counts")
        places = [tuple(panel["gridPos"].values()) for panel in panels]
        assert len(set(places)) == len(places) and len({panel["id"] for panel in panels}) == len(panels)
    finally:
        server.terminate()
        server.wait(60)
        held.close()


def test_every_series_is_explained():
    """Whatever a daemon's source names as a series has its words in exposition_help.c, and no words are left behind."""
    words, named, channels = set(), set(), set()
    for room in ("common", "proto", "edge", "scanner", "coordinator"):
        for path in (weir.ROOT / room).rglob("*.c"):
            found = set(re.findall(r'"((?:weir|process)_[a-z_]+)"', path.read_text()))
            channels |= set(re.findall(r"\bLISTEN (weir_[a-z_]+);", path.read_text()))
            (words if path.name == "exposition_help.c" else named).update(found)
    table = re.findall(r'(?m)^    \{ "([a-z_]+)",', (weir.ROOT / "coordinator/exposition_help.c").read_text())
    assert table == sorted(table), "the table is searched by halves"
    assert named - words - channels == set(), "series without words"
    assert words - named == set(), "words without a series"


def test_counters_never_go_back(make_cluster):
    cluster = make_cluster(edges=1, scanners=1)
    for _ in range(5):
        assert cluster.send(message()).code == 250
    wait_until(lambda: cluster.metric("weir_recipients_accepted_total", node="edge-1") == 5, what="5 recipients")
    children = weir.family(cluster.pid("edge-1"))[1:]
    for pid in children:
        weir.os.kill(pid, weir.signal.SIGKILL)
    wait_until(lambda: cluster.greets(220), what="new workers")
    assert cluster.send(message()).code == 250
    wait_until(lambda: cluster.metric("weir_recipients_accepted_total", node="edge-1") == 6, what="6 recipients after the workers' death")
    cluster.kill("coordinator-1")
    cluster.start("coordinator-1")
    wait_until(lambda: cluster.metric("weir_recipients_accepted_total", node="edge-1") == 6, what="6 recipients after the coordinator's death")


@pytest.mark.sanitized
def test_trace_tells_the_story(cluster):
    raw = message(token="trace-me-4711")
    answer = cluster.send(raw, recipients=("alice@example.edu", "bob@example.edu"))
    story = wait_until(lambda: (text := cluster.weirctl("trace", answer.queue_id, check=False).stdout).count("delivered") >= 2 and text, what="both rows")
    for word in ("alice@example.edu", "bob@example.edu", "sender@example.org", "127.0.0.1", "clean", "ClamAV"):
        assert word in story, story
    assert answer.queue_id in cluster.weirctl("trace", "<trace-me-4711@example.org>").stdout
    assert answer.queue_id in cluster.weirctl("trace", "bob@example.edu").stdout
    rows = json.loads(cluster.weirctl("--json", "trace", answer.queue_id).stdout)
    assert len(rows) == 2
    lines = (cluster.dir / "policy" / "mailertable").read_text().splitlines()
    for row in rows:
        file, line = row["rule"].split(":")
        assert file == "mailertable" and lines[int(line) - 1].startswith("example.edu"), (row["rule"], lines)
        assert row["policy_epoch"] == max(one["epoch"] for one in json.loads(cluster.weirctl("--json", "policy", "history").stdout))
        assert f"policy {row['policy_epoch']}, {row['rule']}" in story, story


def test_revoked_key_ends_the_link(make_cluster):
    cluster = make_cluster(edges=1, scanners=2)
    keys = cluster.weirctl("--json", "keys", "list").stdout
    assert "scanner-2" in keys
    cluster.weirctl("keys", "revoke", "scanner-2")
    wait_until(lambda: cluster.nodes().get("scanner-2", {}).get("state", "lost") == "lost", 20, "scanner-2 is out")
    for _ in range(10):
        assert cluster.send(message()).code == 250
    refused = cluster.weirctl("keys", "add", "scanner-9", "scanner", "12", check=False)
    assert refused.returncode != 0 and "64" in refused.stderr


def test_config_check_and_show(cluster, tmp_path):
    path = tmp_path / "weir.conf"
    path.write_text("[edge]\nmax_sesions = 7\n")
    done = subprocess.run([weir.BIN / "weirctl", "-c", path, "config", "check"], capture_output=True, text=True)
    assert done.returncode == 1 or done.returncode == 65 or done.returncode == 78
    assert f"{path}:2" in done.stderr + done.stdout and "max_sessions" in done.stderr + done.stdout
    for program in ("weir-edge", "weir-scanner", "weir-coordinator"):
        done = subprocess.run([weir.BIN / program, "-c", path, "--name", "x-1", "-t"], capture_output=True, text=True)
        assert done.returncode != 0 and f"{path}:2" in done.stderr + done.stdout, program
    shown = cluster.weirctl("config", "show").stdout
    assert re.search(r"max_message_size\s*=\s*\S+.*default", shown)


@pytest.mark.parametrize("program, node, override, said", [
    ("weir-edge", "edge-1", "edge.hostname=edge-1.weir.test", ""),
    ("weir-edge", "edge-1", "edge.hostname=two words", "--set edge.hostname=two words: error: hostname = two words: expected the name of a host"),
    ("weir-edge", "edge-1", "edge.tmp_dir=/nonexistent", "--set: error: [edge] tmp_dir: /nonexistent: No such file or directory"),
    ("weir-edge", "edge-1", "edge.tmp_dir=/etc/hostname", "--set: error: [edge] tmp_dir: /etc/hostname: Not a directory"),
    ("weir-edge", "edge-1", "edge.dns_forward=localhost", "error: dns_forward: 'localhost': expected the address of a name server"),
    ("weir-edge", "edge-1", "edge.dns_stub=example.edu", "error: dns_stub: 'example.edu': expected ZONE=ADDRESS"),
    ("weir-edge", "edge-1", "edge.dns_trust_anchor=/nonexistent", "--set: error: [edge] dns_trust_anchor: /nonexistent: No such file or directory"),
    ("weir-edge", "edge-1", "tls.certificate=/nonexistent", "--set: error: [tls] certificate: certificate /nonexistent: No such file or directory"),
    ("weir-scanner", "scanner-1", "scanner.workers=1", ""),
    ("weir-scanner", "scanner-1", "scanner.spool_dir=/nonexistent", "--set: error: [scanner] spool_dir: /nonexistent: No such file or directory"),
    ("weir-scanner", "scanner-1", "scanner.tmp_dir=/nonexistent", "--set: error: [scanner] tmp_dir: /nonexistent: No such file or directory"),
    ("weir-scanner", "scanner-1", "scanner.signatures=/nonexistent", "--set: error: [scanner] signatures: /nonexistent: No such file or directory"),
    ("weir-scanner", "scanner-1", "scanner.listen=nowhere", "tcp://ADDRESS:PORT"),
    ("weir-scanner", "scanner-1", "cluster.key_file=/nonexistent", "--set: error: [cluster] key_file: /nonexistent: No such file or directory"),
])
def test_what_is_missing_is_told_before_a_start(cluster, program, node, override, said):
    command = [weir.BIN / program, "-c", cluster.dir / node / "weir.conf", "--name", node, "--set", override, "-t"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode == 0) == (said == ""), done
    assert said in done.stderr and (said != "" or done.stdout.endswith(": ok\n")), done


def test_a_misspelt_policy_file_is_told(cluster, tmp_path):
    for name, text in (("networks", "127.0.0.1/32\n"), ("mailertabel", "example.edu smtp:[127.0.0.1]\n"), (".networks.swp", "")):
        (tmp_path / name).write_text(text)
    done = cluster.weirctl("policy", "check", str(tmp_path))
    assert done.stderr == f"weirctl: {tmp_path}/mailertabel is not read: no policy file has that name\n"


@pytest.mark.parametrize("key, said, times", [
    ("keys/edge-1.key", "is that the name our key is registered under?", 2),  # once by each worker
    ("new", "the server does not know our key", 8),                           # by each worker of each link
])
def test_a_node_that_is_not_let_in_says_so_and_not_for_ever(cluster, tmp_path, key, said, times):
    """Both are common on the day a node is added; the log says it, and is not flooded."""
    path = cluster.dir / key
    if key == "new":
        path = tmp_path / "new.key"
        cluster.weirctl("keys", "generate", str(path))
    log = tmp_path / "log"
    conf = cluster.dir / "edge-1/alone.conf"  # beside weir.conf, for what it includes; with one listener, as all get the same address here
    conf.write_text((cluster.dir / "edge-1/weir.conf").read_text().split('[listener "submission"]')[0])
    port = weir.free_base_port()
    edge = subprocess.Popen([weir.BIN / "weir-edge", "-c", conf, "--name", "edge-7", "--set", f"cluster.key_file={path}", "--set", "edge.workers=2",
                             "--set", f"listener.listen=127.0.0.1:{port}", "--set", f"log.file={log}"])
    try:
        wait_until(lambda: log.exists() and log.read_text().count("accepts sessions") >= 2, what="it runs")
        wait_until(lambda: log.read_text().count(said) >= 2, what=said)
        time.sleep(2)  # in which a flood would come
        assert log.read_text().count(said) <= times and "link is down" not in log.read_text(), log.read_text()
    finally:
        edge.terminate()
        edge.wait(60)
    refused = cluster.log("coordinator-1").count("edge-1 (edge) says it is edge-7 (edge): refused")
    assert refused <= 4, "once for each link, not for each question"


def test_a_reload_tells_what_needs_a_restart(make_cluster):
    cluster = make_cluster(edges=1, scanners=1)
    path = cluster.dir / "edge-1/weir.conf"
    text = path.read_text()

    def reload(text):
        path.write_text(text)
        cluster.kill("edge-1", weir.signal.SIGHUP)

    def told():
        return sorted(line.split(": reload: ")[1] for line in cluster.log("edge-1").splitlines() if ": reload: " in line)

    reload(text.replace("banner_delay = 0", "banner_delay = 1ms"))
    wait_until(lambda: "reloaded:" in cluster.log("edge-1"), what="reloaded")
    assert told() == []
    ends = " has changed: that counts from the next start on"
    here = cluster.env["EDGE_1_RELAY"]
    reload(text.replace(here, f"{here}, {here.replace('0.0.1', '0.0.2')}").replace("[edge]\n", "[edge]\nworkers = 7\n"))
    wait_until(lambda: told() == ["listen of listener relay" + ends, "workers" + ends], what="both are told")
    assert cluster.send(message()).code == 250

    path = cluster.dir / "scanner-1/weir.conf"
    path.write_text(path.read_text() + "advertise = tcp://127.0.0.1:9\n")
    cluster.kill("scanner-1", weir.signal.SIGHUP)
    wait_until(lambda: "reload: advertise" + ends in cluster.log("scanner-1"), what="the scanner's word")


def test_scanned_and_unscanned_policy_defaults(cluster):
    """The shipped defaults that operators rely on."""
    shown = [line.partition("#")[0].strip() for line in cluster.weirctl("config", "show", "--defaults").stdout.splitlines()]
    for line in ("max_message_size = 50MiB", "max_recipients = 100", "virus_action = reject"):
        assert line in shown


@pytest.mark.sanitized
def test_S52_a_drained_edge_passes_its_own_clients_on(make_cluster):
    """A client that knows edge-1 alone: while that is drained, it is served by edge-2, which knows who it is."""
    client = "127.0.0.2"
    cluster = make_cluster(edges=2, scanners=1)

    def reload(edge, section, line):
        path = cluster.dir / edge / "weir.conf"
        key = line.split(" ")[0]
        text = re.sub(rf"(?m)^{key} = .*\n", "", path.read_text())
        path.write_text(text.replace(f"{section}\n", f"{section}\n{line}\n"))
        cluster.reload(edge)

    reload("edge-2", '[listener "relay"]', "proxy_from = 127.0.0.1")
    reload("edge-1", '[listener "relay"]', f"drain_to = 127.0.0.1:1, {cluster.relay(1)}, {cluster.relay(2)}")  # nobody, itself, and the one
    cluster.weirctl("drain", "--wait", "edge-1")
    body = message(size=3000000)
    for _ in range(2):  # beginning with the one, and with the other edge
        with Smtp(cluster.relay(1), source=client) as smtp:
            assert smtp.greeting.code == 220 and "edge-2" in smtp.greeting.text, smtp.greeting
            smtp.envelope()
            assert smtp.data(body).code == 250
            assert cluster.nodes()["edge-1"]["state"] == "drained"
            assert smtp.command("QUIT").code == 221
            assert smtp.closed()
    with Smtp(cluster.relay(1), source=client) as smtp:  # one that shuts its side down hears the answers to all it sent
        smtp.envelope()
        assert smtp.command("DATA").code == 354
        smtp.send(body + b".\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<alice@example.edu>\r\nNOOP\r\n")
        smtp.sock.shutdown(socket.SHUT_WR)
        assert [smtp.reply().code for _ in range(4)] == [250, 250, 250, 250]
        assert smtp.closed()
    assert f"connect from unknown[{client}] proxy=127.0.0.1:" in cluster.log("edge-2")
    assert f"drain_to: {client} goes on at {cluster.relay(2)}" in cluster.log("edge-1")
    assert f"goes on at {cluster.relay(1)}" not in cluster.log("edge-1")
    wait_until(lambda: cluster.metric("weir_handovers_total", node="edge-1", result="passed") == 3, what="three in the metrics")
    wait_until(lambda: cluster.metric("weir_handovers", node="edge-1") == 0, what="none under way")

    reload("edge-1", "[edge]", "max_sessions = 1")  # one in each worker
    count = len(weir.workers_of(cluster, "edge-1"))
    with contextlib.ExitStack() as held:
        texts = [held.enter_context(Smtp(cluster.relay(1), source=client)).greeting.text for _ in range(count + 4)]
    passed = [text for text in texts if "edge-2" in text]
    assert 1 <= len(passed) <= count and all(text.startswith("4.3.2") for text in texts if text not in passed), texts
    reload("edge-1", "[edge]", "max_sessions = 100")

    cluster.weirctl("drain", "--wait", "--force", "edge-2")  # that has nobody to take over, and does not pass on what was passed on
    assert Smtp(cluster.relay(1), source=client).greeting.text.startswith("4.3.2")
    cluster.kill("edge-2")
    wait_until(lambda: Smtp(cluster.relay(1), source=client).greeting.code == 421, what="421 of edge-1 itself")
    wait_until(lambda: cluster.metric("weir_handovers_total", node="edge-1", result="failed") >= 1, what="a failure in the metrics")
    reload("edge-1", '[listener "relay"]', f"drain_to = {cluster.relay(1)}")
    tried = cluster.log("edge-1").count("drain_to:")
    assert Smtp(cluster.relay(1), source=client).greeting.code == 421
    assert cluster.log("edge-1").count("drain_to:") == tried, "itself alone: nobody is tried"
    cluster.weirctl("undrain", "edge-1")
    wait_until(lambda: "edge-1" in Smtp(cluster.relay(1), source=client).greeting.text, what="edge-1 serves again")
