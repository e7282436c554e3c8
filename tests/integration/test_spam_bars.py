"""The native spam engine on real mail (WEIR_CORPUS): what it must not call spam, what it must, and that no message stops it."""
import os
import pathlib
import subprocess
import sys

import pytest
from weir import BIN

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "bench"))
import spam  # noqa: E402

pytestmark = pytest.mark.skipif("WEIR_CORPUS" not in os.environ, reason="WEIR_CORPUS names no folder with mail")

# By rules alone; what is reached on mail that the weights were looked at with. The goals are in tests/bench/README.md.
RECALL = {"csdmc2010": 0.57, "phishing_pot": 0.755, "sa": 0.55, "trec06c": 0.57}


def test_rules_on_real_mail():
    with spam.Scorer(BIN / "weir-score") as scorer:
        found = spam.rules_only(scorer, spam.corpus())
    for name, (ham, caught) in found.items():
        assert ham is None or ham <= (0 if name == "bounces" else 0.01), (name, ham)
        assert caught is None or caught >= RECALL[name], (name, caught)


def test_a_hundred_local_messages_teach():
    with spam.Scorer(BIN / "weir-score") as scorer:
        found = spam.with_local(scorer, spam.corpus())
    for name, (ham, caught) in found.items():
        assert ham is None or ham <= (0 if name == "bounces" else 0.015), (name, ham)
        assert caught is None or caught >= 0.9, (name, caught)


def test_every_vector_gets_a_score():
    paths = [str(path) for path in (pathlib.Path(os.environ["WEIR_CORPUS"]) / "vectors").rglob("*") if path.is_file()]
    out = subprocess.run([BIN / "weir-score"], input="\n".join(paths) + "\n", text=True, check=True, stdout=subprocess.PIPE).stdout
    assert len(out.splitlines()) == len(paths)
