"""The whole of `chainrule report`, killed at storage operations spread over its length, then run again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

WORDS = [sys.executable, "-m", "chainrule", "report", "B1", "--workflows", "digits", "--seeds", "2"]
KILLS = (1, 8, 40, 120, 400, 700, 900)


def report(folder: Path, fault: str = "") -> int:
    """The exit status of a report in a folder of its own, with a planned fault or none."""
    folder.mkdir(exist_ok=True)
    environment = os.environ | {
        "CHAINRULE_STORE": str(folder / "store"),
        "OMP_NUM_THREADS": "1",
        "CHAINRULE_FAULT": fault,
    }
    environment.pop("CHAINRULE_DATA", None)
    return subprocess.run(WORDS, cwd=folder, env=environment, capture_output=True, check=False).returncode


def lasting(folder: Path) -> dict[str, bytes]:
    """Store and report, without the journal of run times and without what a killed writer left."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "journal.jsonl" and ".tmp-" not in str(path)
    }


@pytest.mark.slow
def test_a_killed_report_is_completed_byte_for_byte(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Wherever it was killed, the same command gives the store and the report of an undisturbed run."""
    assert report(tmp_path / "reference") == 0
    reference = lasting(tmp_path / "reference")
    assert {"report/report.pdf", "report/report.html"} <= set(reference)
    killed = 0
    for at in KILLS:
        folder = tmp_path / f"killed-{at}"
        killed += report(folder, f"kill@{at}") == -9
        assert report(folder) == 0
        assert lasting(folder) == reference, at
    with capsys.disabled():
        print(f"\n  {len(KILLS)} passed / {len(KILLS)} tried, {killed} killed in mid-run", end="")
    assert killed >= 4
