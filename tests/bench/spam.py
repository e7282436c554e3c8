"""spam.py: how well the native engine tells spam from ham, on real mail that is not part of the repository (WEIR_CORPUS).

Three ways: rules only; with a model of all other corpora (leave one corpus out), which is what a foreign site's mail would see of a starter model;
and with rules and a model of 100 messages of each class of the same corpus, tested on the rest.
"""
import collections
import os
import pathlib
import random
import subprocess
import tempfile

from measure import weir

LOCAL = 100
SEEDS = 10
THRESHOLD = 50.0


def corpus():
    """{corpus: {"ham": [path], "spam": [path]}} of WEIR_CORPUS/dev.tsv, in a fixed order."""
    root = pathlib.Path(os.environ["WEIR_CORPUS"])
    found = collections.defaultdict(lambda: {"ham": [], "spam": []})
    for line in (root / "dev.tsv").read_text().splitlines()[1:]:
        path, label, name = line.split("\t")[:3]
        found[name]["ham" if label == "ham" else "spam"].append(str(root / "dev" / path))
    return found


class Scorer:
    """weir-score, and models that it trained in a temporary folder."""

    def __init__(self, program):
        self.program = str(program)
        self.folder = tempfile.TemporaryDirectory(prefix="weir-spam-")
        self.models = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.folder.cleanup()

    def train(self, ham, spam):
        self.models += 1
        model = f"{self.folder.name}/{self.models}"
        lines = [f"ham {path}\n" for path in ham] + [f"spam {path}\n" for path in spam]
        subprocess.run([self.program, "--train", model], input="".join(lines), text=True, check=True)
        return model

    def scores(self, paths, model=None):
        if not paths:
            return []
        command = [self.program] + (["--model", model] if model else [])
        out = subprocess.run(command, input="\n".join(paths) + "\n", text=True, check=True, stdout=subprocess.PIPE).stdout
        return [float(line.split("\t")[1]) for line in out.splitlines()]


def share(scores):
    return sum(score >= THRESHOLD for score in scores) / len(scores) if scores else None


def rules_only(scorer, mail):
    return {name: (share(scorer.scores(of["ham"])), share(scorer.scores(of["spam"]))) for name, of in mail.items()}


def leave_one_out(scorer, mail):
    result = {}
    for name, of in mail.items():
        others = [mail[other] for other in mail if other != name]
        model = scorer.train([path for other in others for path in other["ham"]], [path for other in others for path in other["spam"]])
        result[name] = share(scorer.scores(of["ham"], model)), share(scorer.scores(of["spam"], model))
    return result


def with_local(scorer, mail, seed=1):
    """Who has no ham, or no spam, of his own gets that of the mailing lists, or of the phish."""
    result = {}
    for name, of in mail.items():
        chosen = random.Random(seed)
        ham, spam = (chosen.sample(of[kind], len(of[kind])) for kind in ("ham", "spam"))
        learn_ham = ham[:LOCAL] if ham else chosen.sample(mail["lore_raid"]["ham"], LOCAL)
        learn_spam = spam[:LOCAL] if spam else chosen.sample(mail["phishing_pot"]["spam"], LOCAL)
        model = scorer.train(learn_ham, learn_spam)
        result[name] = share(scorer.scores(ham[LOCAL:], model)), share(scorer.scores(spam[LOCAL:], model))
    return result


def percent(value):
    return "     -" if value is None else f"{100 * value:6.2f}"


def table(title, result):
    print(f"\n{title}\n  corpus        FPR %  recall %")
    for name in sorted(result):
        print(f"  {name:<12} {percent(result[name][0])}    {percent(result[name][1])}")


def table_of_seeds(title, results):
    """One column for each seed, then the mean."""
    print(f"\n{title}\n  corpus                {'  '.join(f'seed {seed:>2}' for seed in range(1, len(results) + 1))}     mean")
    for name in sorted(results[0]):
        for row, words in enumerate(("FPR %", "recall %")):
            values = [result[name][row] for result in results]
            if values[0] is not None:
                print(f"  {name:<12} {words:<8} {'  '.join(f' {percent(value)}' for value in values)}   {percent(sum(values) / len(values))}")


class Spam:
    def spam(self):
        """What engines cost beside the virus scan; of the native one false positives and recall per corpus, and microseconds a message beside libclamav's."""
        self.engines()
        if "WEIR_CORPUS" not in os.environ:
            print("the rest is skipped: WEIR_CORPUS names no folder with mail")
            return
        mail = corpus()
        with Scorer(weir.BIN / "weir-score") as scorer:
            self.real_mail([path for of in mail.values() for kind in of.values() for path in kind], scorer.folder.name)
            table("rules only", rules_only(scorer, mail))
            table("rules, and what all other corpora taught", leave_one_out(scorer, mail))
            table_of_seeds(f"rules, and {LOCAL} messages of each class of the same corpus", [with_local(scorer, mail, seed) for seed in range(1, SEEDS + 1)])
            paths = [path for of in mail.values() for kind in of.values() for path in kind][::6]
            model = scorer.train(paths[::2], paths[1::2])
            for words, more in (("rules", []), ("rules and a model", ["--model", model])):
                run = subprocess.run([weir.BIN / "weir-score", "--repeat", "5", *more], input="\n".join(paths) + "\n", text=True, check=True,
                                     stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
                print(f"{words}: {run.stderr.strip()}   goal <= 100 us")
