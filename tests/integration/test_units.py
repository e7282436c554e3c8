"""deploy/systemd: systemd takes the units, and the programs take what the units say. That each says READY=1 is in fault/test_edge_master.py."""
import os
import pwd
import re
import shutil
import subprocess

import pytest

import weir

UNITS = weir.ROOT / "deploy/systemd"
ROLES = ("edge", "scanner", "coordinator", "web")


def run(*words):
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=120)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
def test_systemd_takes_the_units(tmp_path):
    for role in ROLES:
        name = f"weir-{role}@.service"
        (tmp_path / name).write_text((UNITS / name).read_text().replace("/usr/local/bin", str(weir.BIN)))
    done = run("systemd-analyze", "verify", "--man=no", *[tmp_path / f"weir-{role}@{role}-1.service" for role in ROLES])
    ours = [line for line in done.stderr.splitlines() if "weir" in line]
    assert done.returncode == 0 and ours == [], done.stderr
    (tmp_path / "etc").mkdir()
    made = run("systemd-sysusers", f"--root={tmp_path}", UNITS / "weir.sysusers")
    assert made.returncode == 0, made.stderr
    accounts = (tmp_path / "etc/passwd").read_text()
    assert {name for name in re.findall(r"(?m)^(weir-\w+):", accounts)} == {f"weir-{role}" for role in ROLES}
    if os.geteuid() == 0:
        conf, key = tmp_path / "etc/weir/weir.conf", tmp_path / "etc/weir/edge-1.key"
        steps = {"systemd-sysusers": made.args, "systemd-tmpfiles --create": ("systemd-tmpfiles", f"--root={tmp_path}", "--create", UNITS / "weir.tmpfiles"),
                 "weirctl keys generate /etc/weir/edge-1.key": (weir.BIN / "weirctl", "keys", "generate", key)}
        for step in re.search(r"(?m)^    (systemd-sysusers && .*)$", (UNITS / "README.md").read_text())[1].split(" && "):
            done = run(*steps[step])
            assert done.returncode == 0, (step, done.stderr)
            if conf.parent.exists():
                conf.touch()
        assert (conf.stat().st_mode & 0o777, key.stat().st_mode & 0o777) == (0o640, 0o600)
        assert str(key.stat().st_uid) == re.search(r"(?m)^weir-edge:x:(\d+):", accounts)[1] and pwd.getpwuid(conf.stat().st_uid).pw_name == "root"


def test_programs_take_what_the_units_say(tmp_path):
    names = [f"{role}-1" for role in ROLES]
    for name in names:
        (tmp_path / "weir" / name).mkdir(parents=True)
        assert run(weir.BIN / "weirctl", "keys", "generate", tmp_path / f"{name}.key").returncode == 0
    public = re.search(r"public = (\w+)", (tmp_path / "coordinator-1.key").read_text())[1]
    (tmp_path / "weir.conf").write_text(f'[coordinator "coordinator-1"]\nlisten = tcp://127.0.0.1:7001\npublish = tcp://127.0.0.1:7002\npublic_key = {public}\ndatabase = dbname=x\n'
                                        f'[scanner]\nsignatures = {tmp_path}\n[listener "relay"]\nlisten = 127.0.0.1:2525\n[web]\nweb_database = dbname=x\n')
    for name in names:
        role = name.removesuffix("-1")
        line = re.search(r"(?m)^ExecStart=(.*)$", (UNITS / f"weir-{role}@.service").read_text())[1]
        words = [word.replace("%i", name).replace("%S", str(tmp_path)).replace("/usr/local/bin", str(weir.BIN)).replace("/etc/weir", str(tmp_path)) for word in line.split()]
        assert words[0] == str(weir.BIN / f"weir-{role}") and "%" not in "".join(words)
        done = run(*words, "-t")
        assert done.returncode == 0, (words, done.stderr)
