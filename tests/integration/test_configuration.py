"""What is wrong in weir.conf is told with file and line, by the daemons' -t and by `weirctl config check`."""
import json
import os
import subprocess

import pytest

import weir

COORDINATOR = "coordinator-1"
NODES = {"edge": "edge-1", "scanner": "scanner-1", "coordinator": COORDINATOR}
DAEMONS = {**NODES, "web": "web-1"}

# Of each key a value that none of the programs takes; NO_SUCH is one for all that are not here. None: any text may be right, and whose it is says so.
NO_SUCH = "no such value"
BAD = {
    ("cluster", "name"): "J\u00f6rg",
    ("cluster", "contact"): "J\u00f6rg",
    ("edge", "dnsbl_text"): "J\u00f6rg",
    ("spam", "spam_subject"): "J\u00f6rg", ("spam", "virus_subject"): "J\u00f6rg", ("spam", "blacklist_subject"): "J\u00f6rg",
    ("coordinator", "database"): None, ("web", "web_database"): None,  # libpq: test_what_only_this_machine_knows
    ("auth", "ldap_base"): None,
    ("auth", "ldap_service_dn"): None,
}


def run(*words):
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)


def check(path):
    """What each program says of the file, with its exit status."""
    found = {role: run(weir.BIN / f"weir-{role}", "-t", "-c", path, "--name", name) for role, name in DAEMONS.items()}
    return found | {"weirctl": run(weir.BIN / "weirctl", "-c", path, "config", "check")}


def keys():
    done = run(weir.BIN / "weirctl", "--json", "-c", os.devnull, "config", "show", "--defaults")
    return [(row["section"], row["key"]) for row in json.loads(done.stdout)]


@pytest.mark.parametrize("section", sorted({section for section, key in keys()}))
def test_a_bad_value_of_every_key_is_told_with_its_line_by_every_program(tmp_path, section):
    path = tmp_path / "weir.conf"
    name = {"listener": ' "relay"', "coordinator": f' "{COORDINATOR}"', "egress": ' "bulk"'}.get(section, "")
    tried = 0
    for key in [key for known, key in keys() if known == section]:
        bad = BAD.get((section, key), NO_SUCH)
        if bad is None:
            continue
        path.write_text(f"# one line\n[{section}{name}]\n{key} = {bad}\n")
        for program, done in check(path).items():
            assert done.returncode != 0, f"{program} takes {section}.{key} = {bad}"
            assert f"{path}:3: error: {key}" in done.stderr, (program, done.stderr)
            assert any(right in done.stderr for right in ("expected", "is not an IP address", "has no port")), (program, done.stderr)
        tried += 1
    assert tried > 0


@pytest.fixture(name="site")
def make_site(tmp_path):
    """A file that all daemons' -t takes, as a function of lines that replace or add; gives its path and the lines' numbers by key."""
    keyed = {}
    for number, name in enumerate(("node", "other")):
        keyed[name] = run(weir.BIN / "weirctl", "keys", "generate", tmp_path / f"{name}.key").stdout.strip()
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", f"/CN=x{number}",
                        "-keyout", tmp_path / f"{name}.pem.key", "-out", tmp_path / f"{name}.pem"], check=True, capture_output=True)
        (tmp_path / f"{name}.pem.key").chmod(0o600)
    (tmp_path / "signatures").mkdir()
    (tmp_path / "garbage").write_text("garbage\n")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "open.key").write_bytes((tmp_path / "node.pem.key").read_bytes())
    (tmp_path / "open.key").chmod(0o644)
    (tmp_path / "open.curve").write_bytes((tmp_path / "node.key").read_bytes())
    (tmp_path / "open.curve").chmod(0o644)
    path = tmp_path / "weir.conf"

    def write(section="", key="", value=""):
        lines = {
            "log": {"file": tmp_path / "log"},
            "cluster": {"key_file": tmp_path / "node.key", "state_dir": tmp_path},
            "tls": {"certificate": tmp_path / "node.pem", "key": tmp_path / "node.pem.key"},
            "edge": {"tmp_dir": tmp_path},
            "scanner": {"signatures": tmp_path / "signatures", "tmp_dir": tmp_path, "spool_dir": tmp_path},
            "auth": {},
            "dns": {},
            "web": {"web_database": "host=/run/postgresql dbname=weir", "web_certificate": tmp_path / "node.pem", "web_key": tmp_path / "node.pem.key"},
            'listener "relay"': {"listen": "127.0.0.1:2525"},
            f'coordinator "{COORDINATOR}"': {"listen": "tcp://127.0.0.1:1", "publish": "tcp://127.0.0.1:2", "public_key": keyed["node"],
                                             "database": "host=/run/postgresql dbname=weir"},
        }
        if section:
            lines[section][key] = keyed["other"] if value == "another's" else str(value).replace("HERE", str(tmp_path))
        text, at = [], 0
        for header, own in lines.items():
            text.append(f"[{header}]")
            for name, setting in own.items():
                text.append(f"{name} = {setting}")
                at = len(text) if (header, name) == (section, key) else at
        path.write_text("\n".join(text) + "\n")
        return path, at
    return write


def test_a_good_file(site):
    path, _ = site()
    assert {program: done.stderr for program, done in check(path).items()} == dict.fromkeys([*DAEMONS, "weirctl"], "")


def test_results_in_the_name_of_another_edge_are_warned_of(tmp_path):
    path = tmp_path / "weir.conf"
    for text, warned in (("spam_engines = native\n", True), ("spam_engines = native\nauthserv_id = mx.example.edu\n", False), ("", False)):
        path.write_text("[spam]\n" + text)
        done = run(weir.BIN / "weirctl", "-c", path, "config", "check")
        assert done.returncode == 0 and ("warning: [spam] authserv_id is not set" in done.stderr) == warned, done.stderr


@pytest.mark.parametrize("section, key, value, programs, said", [
    ("cluster", "key_file", "/nonexistent", NODES, "/nonexistent: No such file or directory"),
    ("cluster", "key_file", "HERE/garbage", NODES, "mode 0644 lets others at the secret key; it must be 0600"),
    ("cluster", "key_file", "HERE/node.pem.key", NODES, 'not a key file (two lines, "public = HEX" and "secret = HEX"'),
    ("cluster", "key_file", "HERE/open.curve", NODES, "mode 0644 lets others at the secret key; it must be 0600"),
    ("cluster", "state_dir", "/nonexistent", ["edge", "scanner"], "/nonexistent: No such file or directory"),
    ("log", "file", "/nonexistent/log", DAEMONS, "/nonexistent/log: No such file or directory"),
    ("tls", "certificate", "/nonexistent", ["edge"], "certificate /nonexistent: No such file or directory"),
    ("tls", "certificate", "HERE/garbage", ["edge"], "certificate "),
    ("tls", "certificate", "HERE/pipe", ["edge"], "/pipe: is a pipe, and must be a file: it is read more than once"),
    ("tls", "key", "HERE/pipe", ["edge"], "/pipe: is a pipe, and must be a file: it is read more than once"),
    ("tls", "key", "/nonexistent", ["edge"], "key /nonexistent: No such file or directory"),
    ("tls", "key", "HERE/garbage", ["edge"], "key "),
    ("tls", "key", "HERE/other.pem.key", ["edge"], "does not belong to certificate"),
    ("tls", "key", "HERE/open.key", ["edge"], "mode 0644 lets everybody read the private key"),
    ("tls", "ca_file", "/nonexistent", ["edge"], "CA file /nonexistent: No such file or directory"),
    ("tls", "ca_file", "HERE/garbage", ["edge"], "CA file "),
    ("tls", "ca_file", "HERE/pipe", ["edge"], "/pipe: is a pipe, and must be a file: it is read more than once"),
    ("edge", "tmp_dir", "/nonexistent", ["edge"], "/nonexistent: No such file or directory"),
    ("edge", "tmp_dir", "/etc/hostname", ["edge"], "/etc/hostname: Not a directory"),
    ("edge", "dns_trust_anchor", "/nonexistent", ["edge"], "/nonexistent: No such file or directory"),
    ("edge", "dns_trust_anchor", "HERE/pipe", ["edge"], "/pipe is a pipe, and must be a file: it is read more than once"),
    ("edge", "dns_root_hints", "/etc", ["edge"], "/etc: Is a directory"),
    ("scanner", "signatures", "/nonexistent", ["scanner"], "/nonexistent: No such file or directory"),
    ("scanner", "tmp_dir", "/nonexistent", ["scanner"], "/nonexistent: No such file or directory"),
    ("scanner", "spool_dir", "/etc/hostname", ["scanner"], "/etc/hostname: Not a directory"),
    ("auth", "ldap_ca_file", "/nonexistent", ["coordinator"], "/nonexistent: No such file or directory"),
    ("auth", "ldap_ca_file", "HERE/pipe", ["coordinator"], "/pipe is a pipe, and must be a file: it is read more than once"),
    ("auth", "ldap_service_password_file", "/nonexistent", ["coordinator"], "/nonexistent: No such file or directory"),
    ("web", "web_certificate", "/nonexistent", ["web"], "certificate /nonexistent: No such file or directory"),
    ("web", "web_key", "/nonexistent", ["web"], "key /nonexistent: No such file or directory"),
    ("web", "web_key", "HERE/other.pem.key", ["web"], "does not belong to certificate"),
    ("web", "web_key", "HERE/open.key", ["web"], "mode 0644 lets everybody read the private key"),
    ("web", "web_database", "no such word", ["web"], 'missing "=" after "no"'),
    ("web", "web_database_file", "/nonexistent", ["web"], "/nonexistent: No such file or directory"),
    ("dns", "dns_tsig_file", "/nonexistent", ["coordinator"], "/nonexistent: No such file or directory"),
    ("dns", "dns_tsig_file", "HERE/open.key", ["coordinator"], "mode 0644 lets everybody read the private key"),
    (f'coordinator "{COORDINATOR}"', "database", "no such word", ["coordinator"], 'missing "=" after "no"'),
    (f'coordinator "{COORDINATOR}"', "database_file", "/nonexistent", ["coordinator"], "/nonexistent: No such file or directory"),
    (f'coordinator "{COORDINATOR}"', "public_key", "another's", ["coordinator"], "is not that of "),
])
def test_what_only_this_machine_knows_is_told_with_its_line(site, section, key, value, programs, said):
    """Each is another program's business as little as weirctl's, whose file may be checked far from the node it is for."""
    path, line = site(section, key, value)
    for program, done in check(path).items():
        if program not in programs:
            assert done.returncode == 0, (program, done.stderr)
            continue
        place = f"{path}:{line}: error: [{section}] {key}: "
        if said == "does not belong to certificate":
            assert f"key {path.parent}/other.pem.key {said} {path.parent}/node.pem" in done.stderr, done.stderr
        assert done.returncode != 0 and place in done.stderr and said in done.stderr, (program, done.stderr)


def test_a_pipe_is_read_and_one_that_nobody_writes_is_told(tmp_path, site, request):
    """-c <(command) is a pipe, too; a FIFO without a writer ended in an open() for ever. The programs wait beside each other."""
    path, _ = site(f'coordinator "{COORDINATOR}"', "database_file", "HERE/pipe")
    unsaid = path.rename(tmp_path / "unsaid.conf")
    path, _ = site()
    silent, policy = tmp_path / "silent.conf", tmp_path / "policy"
    policy.mkdir()
    started = []
    request.addfinalizer(lambda: [process.kill() for process in started])
    os.mkfifo(silent)
    os.mkfifo(policy / "mailertable")
    ctl = weir.BIN / "weirctl"

    def start(*words):
        started.append(subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]
    waiting = [start(ctl, "-c", silent, "config", "check"), start(ctl, "-c", path, "policy", "check", policy),
               start(weir.BIN / "weir-coordinator", "-t", "-c", unsaid, "--name", COORDINATOR),
               *(start(weir.BIN / f"weir-{role}", "-t", "-c", silent, "--name", name) for role, name in DAEMONS.items())]
    spoken = tmp_path / "spoken.conf"
    os.mkfifo(spoken)
    checked = start(ctl, "-c", spoken, "config", "check")
    spoken.write_text(path.read_text())
    assert checked.wait(60) == 0, checked.stderr.read()
    done = run("bash", "-c", f"{ctl} -c <(cat {path}) config check && cat {path} | {ctl} -c /dev/stdin config check")
    assert done.returncode == 0, done.stderr
    for process in waiting:
        _, said = process.communicate(timeout=60)
        assert process.returncode != 0 and "a pipe into which nobody has written for 10 s" in said, said


def test_two_listeners_at_one_address(site):
    path, _ = site()
    text = path.read_text() + '[listener "other"]\nlisten = 127.0.0.1:2526, 127.0.0.1:2525\n'
    path.write_text(text)
    said = f'{path}:{text.count(chr(10))}: error: [listener "other"] listen: [listener "relay"] has 127.0.0.1:2525, too'
    for program, done in check(path).items():
        assert done.returncode != 0 and said in done.stderr, (program, done.stderr)
