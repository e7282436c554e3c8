"""A BIND of a test's own, that has the zone site.test and takes updates of it signed with a key."""
import pathlib
import shutil
import subprocess
import tempfile

from coordinators import hold_port
from weir import wait_until

ZONE = "site.test"


class Named:
    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="weir-named-"))
        self.key = self.dir / "update.key"
        self.key.write_text(subprocess.run(["tsig-keygen", "weir"], capture_output=True, text=True, check=True).stdout)
        self.key.chmod(0o600)
        self.held = hold_port()
        self.port = self.held.getsockname()[1]
        (self.dir / "zone").write_text("$TTL 60\n@ SOA ns hostmaster 1 3600 600 86400 5\n@ NS ns\nns A 127.0.0.1\n@ MX 10 mx\n")
        self.conf = self.dir / "named.conf"
        self.conf.write_text(f"""{self.key.read_text()}
options {{ directory "{self.dir}"; pid-file none; session-keyfile none; listen-on port {self.port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
  recursion no; notify no; allow-transfer {{ none; }}; dnssec-validation no; empty-zones-enable no; }};
controls {{ }};
zone "{ZONE}" {{ type primary; file "zone"; update-policy {{ grant weir zonesub ANY; }}; }};
""")
        # Debian's AppArmor profile lets /usr/sbin/named into its own folders only, where there is AppArmor; a copy is another program.
        shutil.copy("/usr/sbin/named", self.dir / "named")
        self.process = None
        self.start()

    def start(self):
        with open(self.dir / "log", "ab") as log:
            self.process = subprocess.Popen([self.dir / "named", "-g", "-n", "1", "-c", self.conf], stderr=log)
        wait_until(lambda: self.records("ns", "A") == ["127.0.0.1"], 30, f"named: {(self.dir / 'log').read_text()[-2000:]}")

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def records(self, name, kind):
        """What it has of a name of the zone, in order."""
        done = subprocess.run(["dig", "+short", "+tries=1", "+time=2", "-p", str(self.port), "@127.0.0.1", f"{name}.{ZONE}", kind], capture_output=True,
                              text=True, check=False)
        return sorted(done.stdout.split()) if done.returncode == 0 else None

    def addresses(self, name="mx"):
        return self.records(name, "A"), self.records(name, "AAAA")

    def ttl(self, name, kind):
        done = subprocess.run(["dig", "+noall", "+answer", "-p", str(self.port), "@127.0.0.1", f"{name}.{ZONE}", kind], capture_output=True, text=True, check=True)
        return int(done.stdout.split()[1])

    def update(self, *lines):
        """As somebody who has the key, but is not the cluster."""
        subprocess.run(["nsupdate", "-v", "-k", self.key], input="\n".join([f"server 127.0.0.1 {self.port}", f"zone {ZONE}.", *lines, "send", ""]),
                       text=True, capture_output=True, check=True)

    def close(self):
        self.stop()
        self.held.close()
        shutil.rmtree(self.dir)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
