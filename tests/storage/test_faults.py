"""A fault at every operation of a small run: four objects, one document, one note (the program is ``sweep.py``)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SWEEP = Path(__file__).parent / "sweep.py"
# The least number of faults that each sweep must reach; a run has about 90 changes and 160 operations.
SWEEPS = {
    "kill": 90,  # SIGKILL before every change, and in the middle of every file
    "power": 160,  # everything unsynced is lost, with and without the names
    "nospace": 120,  # ENOSPC, once, at every operation; nothing is left behind
    "quota": 120,
    "eio": 120,
    "readonly": 120,
    "persistent eio": 40,  # from every third operation on, all fail, cleaning up included
    "persistent readonly": 40,
    "recovery": 50,  # a second fault in the rerun after the first
    "unsynced": 10,  # the control: without syncs the power model shows damage, and verify-on-read still saves the run
    "writers": 42,  # rounds of two to eight processes on one store
    "full disk": 5,  # a real limit on file sizes
}


def swept(name: str, folder: Path) -> tuple[str, int, int]:
    """Carry out one sweep in a fresh process; what it printed, and its two numbers."""
    done = subprocess.run([sys.executable, str(SWEEP), name, str(folder)], capture_output=True, text=True, check=False)
    last = done.stdout.splitlines()[-1:] or [""]
    assert done.returncode == 0, done.stdout + done.stderr
    passed, _, _, tried, _ = last[0].rpartition(": ")[2].split()
    return last[0], int(passed), int(tried)


@pytest.mark.parametrize("name", SWEEPS)
def test_a_rerun_after_any_fault_gives_the_same_tree(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever stops a run, nothing invalid can be seen, no finished object is recomputed, and a rerun completes it."""
    line, passed, tried = swept(name, tmp_path)
    with capsys.disabled():
        print(f"\n  {line}", end="")
    assert passed == tried >= SWEEPS[name]


@pytest.mark.parametrize(
    ("fault", "status"),
    [("kill@20", -9), ("torn@4", -9), ("nospace@9", 74), ("eio@3/all", 74), ("readonly@1", 73), ("nonsense@1", 78)],
)
def test_the_environment_plans_a_fault(fault: str, status: int, tmp_path: Path) -> None:
    """``CHAINRULE_FAULT`` stops any process that uses the package, and without it the same command completes."""
    program = (
        "import sys; from chainrule.errors import ChainruleError; from chainrule.store.objects import open_store\n"
        "try: [open_store(sys.argv[1]).put(c * 64, {'a': b'xy'}, 'cell') for c in '0123']\n"
        "except ChainruleError as error: sys.exit(error.exit_status)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "store")]
    assert subprocess.run(command, env=os.environ | {"CHAINRULE_FAULT": fault}, check=False).returncode == status
    assert subprocess.run(command, check=False).returncode == 0
    assert len(list(tmp_path.glob("store/objects/??/*/MANIFEST.json"))) == 4
