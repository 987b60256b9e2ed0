"""A cohort of any size runs in a stated budget: 10,000 networks in less than 2 GiB."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import json, resource, sys
from chainrule.experiment.condition import Condition, grid
from chainrule.experiment.executors.in_process import in_process
from chainrule.experiment.observe import training_loss
from chainrule.experiment.protocol import Protocol
from chainrule.experiment.training import train
from chainrule.store.objects import open_store
base = Condition(widths=(10, 64, 64, 1), data="diabetes", loss="squared_error", batch=64, steps=2)
conditions = grid(base, {"lr": [0.001 * i for i in range(1, 101)]})
protocol = Protocol(conditions, 100, {"loss": training_loss})
(run,) = train(protocol, open_store(sys.argv[1]), executor=in_process(2**30))
unit = 1 if sys.platform == "darwin" else 1024
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
print(json.dumps({"networks": run.readings["loss"][:, :, 0].size, "peak": peak, "parameters": len(run.final[99][99])}))
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_thousand_networks_train_in_two_gibibytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """100 learning rates by 100 seeds of 10-64-64-1 (8-64-64-1 with the features of the diabetes data)."""
    words = [sys.executable, "-c", PROGRAM, str(tmp_path / "store")]
    found = json.loads(subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert found["networks"] == 10_000
    assert found["parameters"] > 4 * (10 * 64 + 64 * 64 + 64)
    with capsys.disabled():
        print(f"\n  10,000 networks: peak {found['peak'] / 2**20:.0f} MiB", end="")
    assert found["peak"] < 2 * 2**30
