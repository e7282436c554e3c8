"""The version before this one, built from the repository's own history: what a cluster runs while it is upgraded.

Kept under build/previous/COMMIT, so that it is built once. Its programs tell the commit as their version.
"""
import fcntl
import pathlib
import shutil
import subprocess
import tarfile
import tempfile
import time

from weir import ROOT

NAMED = ROOT / "tests/previous-version"  # a commit, for as long as there is no tag
PROGRAMS = ["weir-edge", "weir-scanner", "weir-coordinator", "weirctl", "weir-sink"]


class Missing(Exception):
    """There is no version before; says why."""


def git(*words, **options):
    # Whoever owns the clone: a build machine's tests may run as another account.
    return subprocess.run(["git", "-c", "safe.directory=*", "-C", ROOT, *words], capture_output=True, check=False, **options)


def commit_of(name):
    done = git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", text=True)
    return done.stdout.strip() if done.returncode == 0 else None


def find():
    """(name, commit) of the newest release that is not this one, else of what tests/previous-version names."""
    if shutil.which("git") is None or commit_of("HEAD") is None:
        raise Missing("no git, or no history here")
    tag = git("describe", "--tags", "--abbrev=0", "HEAD^", text=True)
    name = tag.stdout.strip() if tag.returncode == 0 else None
    if name is None and NAMED.exists():
        name = NAMED.read_text().split()[0]
    if name is None:
        raise Missing("no tag before HEAD, and no tests/previous-version")
    commit = commit_of(name)
    if commit is None:
        raise Missing(f"{name} is not in this clone's history (a shallow one?)")
    return name, commit


def build():
    """(the folder of its sources, with build/bin in it; what its programs say they are). Raises Missing."""
    name, commit = find()
    version = commit[:12]
    kept = ROOT / "build/previous"
    folder = kept / version
    kept.mkdir(parents=True, exist_ok=True)
    with open(kept / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            began = time.monotonic()
            with tempfile.TemporaryDirectory(dir=kept) as made:
                unpack(commit, made)
                # Nothing is measured with it: compiled as fast as can be, and with this compiler's new warnings.
                make = ["make", "-s", "-j2", "OPT=-O0", "WERROR=", f"VERSION={version}", *(f"build/bin/{program}" for program in PROGRAMS)]
                done = subprocess.run(make, cwd=made, capture_output=True, text=True, timeout=280, check=False)
                assert done.returncode == 0, f"{name} cannot be built: {done.stderr[-3000:]}"
                pathlib.Path(made).chmod(0o755)
                pathlib.Path(made).rename(folder)
                pathlib.Path(made).mkdir()  # for the context manager to remove
            print(f"{name} ({version}) built in {time.monotonic() - began:.1f} s")
    return folder, version


def unpack(commit, folder):
    archive = tempfile.TemporaryFile()
    subprocess.run(["git", "-c", "safe.directory=*", "-C", ROOT, "archive", "--format=tar", commit], stdout=archive, check=True)
    archive.seek(0)
    with tarfile.open(fileobj=archive) as tar:
        tar.extractall(folder, filter="data") if hasattr(tarfile, "data_filter") else tar.extractall(folder)
