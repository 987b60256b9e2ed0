"""The pages that are generated are what their generator writes today."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_catalogue_page_is_fresh():
    """docs/catalogue.md is what `python3 lab.py list --markdown > docs/catalogue.md` writes."""
    command = [sys.executable, "-m", "chainrule", "list", "--markdown"]
    written = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    assert (ROOT / "docs" / "catalogue.md").read_bytes() == written
