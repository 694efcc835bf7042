"""Where things are, whatever the folder of a test."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"
REFERENCE = ROOT.parent / "shared" / "reference"
"""Complete test vectors of the reference implementations, where they are beside the repository."""
