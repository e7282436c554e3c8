"""A real Postfix of our own: its configuration, queue and ports under one folder. Needs root, as its master does."""
import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import pytest

from weir import PATIENCE, Smtp, free_base_port, wait_until

NOBODY = 65534


def need():
    if os.geteuid() != 0:
        pytest.skip("not root: Postfix's master starts as root only")
    if not shutil.which("postfix"):
        pytest.skip("postfix is not installed")


@contextlib.contextmanager
def smtp_sink(port, *words):
    """The test server of Postfix's package, with these options, on this port of ours."""
    if not shutil.which("smtp-sink"):
        pytest.skip("smtp-sink is not installed")
    as_user = ["-u", "nobody"] if os.geteuid() == 0 else []
    sink = subprocess.Popen(["smtp-sink", *as_user, *words, f"127.0.0.1:{port}", "100"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        def listens():
            assert sink.poll() is None, f"smtp-sink {words} ended"
            with Smtp(f"127.0.0.1:{port}", greet=False):
                return True
        wait_until(listens, what="smtp-sink")
        yield
    finally:
        sink.kill()
        sink.wait()


class Postfix:
    """settings: lines of main.cf. listens: smtpd on self.port, or "postscreen" in front of it; mail of virtual_mailbox_maps lands in mail/NAME/."""

    def __init__(self, listens=False, **settings):
        need()
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="weir-test-postfix."))
        self.dir.chmod(0o755)
        self.block = free_base_port()  # of which nobody takes a port while this one is stopped
        self.port = self.block + 7
        for name in ("etc", "queue", "data", "mail"):
            (self.dir / name).mkdir()
        shutil.chown(self.dir / "data", "postfix")
        os.chown(self.dir / "mail", NOBODY, NOBODY)
        main = {"compatibility_level": "3.6", "queue_directory": self.dir / "queue", "data_directory": self.dir / "data", "inet_interfaces": "127.0.0.1",
                "inet_protocols": "ipv4", "myhostname": "postfix.example.edu", "mynetworks": "127.0.0.0/8", "maillog_file": self.dir / "mail.log",
                "maillog_file_prefixes": self.dir, "mydestination": "", "alias_maps": "", "alias_database": "", "local_recipient_maps": "",
                "smtp_host_lookup": "native", "disable_dns_lookups": "yes", "smtpd_peername_lookup": "no", "queue_run_delay": "2s",
                "minimal_backoff_time": "1s", "maximal_backoff_time": "2s", **settings}
        if "virtual_mailbox_domains" in main:
            main["virtual_mailbox_base"] = self.dir / "mail"
        (self.dir / "etc/main.cf").write_text("".join(f"{name} = {value}\n" for name, value in main.items()))
        services = []
        for line in pathlib.Path("/usr/share/postfix/master.cf.dist").read_text().splitlines():
            words = line.split()
            if not words or line.startswith(("#", " ", "\t")) or words[-1].startswith(("user=", "argv=")) or words[7] == "pipe":
                continue
            if words[0] == "smtp" and words[1] == "inet":
                if not listens:
                    continue
                words[0] = str(self.port)
                if listens == "postscreen":
                    services.append("smtpd\tpass\t-\t-\tn\t-\t-\tsmtpd")
                    words[6:] = ["1", "postscreen"]
            words[4] = "n"  # no chroot
            services.append("\t".join(words))
        (self.dir / "etc/master.cf").write_text("\n".join(services) + "\n")

    def __enter__(self):
        self.command("start")
        wait_until(lambda: "daemon started" in self.log(), 20, "Postfix")
        return self

    def __exit__(self, *_):
        self.command("stop", check=False)
        shutil.rmtree(self.dir, ignore_errors=True)

    def command(self, word, check=True):
        done = subprocess.run(["postfix", "-c", self.dir / "etc", word], capture_output=True, text=True, timeout=60 * PATIENCE)
        assert not check or done.returncode == 0, f"postfix {word}: {done.stdout}{done.stderr}{self.log()}"

    def sendmail(self, *words, text):
        subprocess.run(["/usr/sbin/sendmail", "-C", self.dir / "etc", *words], input=text, check=True, timeout=60 * PATIENCE)

    def log(self):
        path = self.dir / "mail.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def status(self, recipient):
        """What the log says became of mail for it, last: (status, words)."""
        return re.findall(rf"to=<{re.escape(recipient)}>, .*status=(\w+) \((.*)\)", self.log())[-1:]

    def ended(self, recipient):
        """The same, once it is not only put off: on a busy machine a first try may be."""
        return [told for told in self.status(recipient) if told[0] != "deferred"]

    def mail(self, name):
        return [path.read_bytes() for path in (self.dir / "mail" / name / "new").glob("*")]
