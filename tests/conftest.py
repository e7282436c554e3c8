"""Both integration/ and fault/ use the modules and fixtures of integration/, and the browser of browser/."""
import pathlib
import sys

sys.path[:0] = [str(pathlib.Path(__file__).parent / folder) for folder in ("integration", "fault", "browser")]

from conftest_fixtures import *  # noqa: E402,F401,F403
