"""Both integration/ and fault/ use the modules and fixtures of integration/."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent / "integration"))

from conftest_fixtures import *  # noqa: E402,F401,F403
