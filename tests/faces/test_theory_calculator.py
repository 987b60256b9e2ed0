"""The calculator: every topic in one call, tables as x and y, and each mistake told."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from chainrule import cli, formulas
from chainrule.errors import ChainruleError
from chainrule.randomness import stream


def call(*words: str) -> int:
    """The exit status of a command, run in this process."""
    sys.argv = ["chainrule", *words]
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    """What ``chainrule theory … --json`` prints."""
    assert call("theory", *words, "--json") == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


@pytest.fixture
def table(tmp_path: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    """A CSV of 30 rows in which the target is not the last column, with its x and y."""
    draw = stream(0, "table")
    x = draw.standard_normal((30, 3)) * [1, 10, 0.1] + [5, 0, 1]
    y = x @ [0.5, -0.2, 3.0] + draw.standard_normal(30)
    path = tmp_path / "houses.csv"
    rows = [f"{a!r},{p!r},{b!r},{c!r}" for (a, b, c), p in zip(x.tolist(), y.tolist(), strict=True)]
    path.write_text("\n".join(["rooms,price,age,tax", *rows]) + "\n")
    return path, x, y


def test_the_phase_of_a_network_in_one_call(capsys: pytest.CaptureFixture[str]) -> None:
    """The keys that scripts rely on, at the top; GELU with a bias has no critical point, and says null."""
    found = answer(capsys, "meanfield", "activation=gelu", "weight_std=1.3", "bias_std=0.3")
    assert set(found) == {"formula", "q_star", "chi_1", "c_star", "xi_c", "xi_q", "critical_weight_std"}
    assert found["q_star"] == pytest.approx(0.19636288, rel=1e-7)
    assert found["critical_weight_std"] is None
    tanh = answer(capsys, "meanfield", "activation=tanh", "weight_std=1.3", "bias_std=0.3")
    assert tanh["critical_weight_std"] == pytest.approx(1.395584, abs=1e-6)


TOPICS = [
    ("gains activation=elu", "backward", 1.4967774),
    ("linear strength=2 start=0.01 time=1 depth=3", "half_time", 1.977559),
    ("quadratic flattest=1 sharpest=100 lr=0.01", "gradient_descent_threshold", 0.02),
    ("noise_floor curvature=.1,.5,1,3,5 noise_variance=1,2,.5,1,.3 lr=0.05", "value", 0.0620573),
    ("lyapunov_floor hessian=1,0;0,2 noise=1,0;0,1 lr=0.1", "value", 0.1 / 2 * (1 / 1.9 + 1 / 1.8)),
    ("ridge x=1,0;0,1 y=2,4 penalty=1", "ridge", [1.0, 2.0]),
    ("lasso x=1,0;0,1 y=3,0.5 penalty=1", "value", [2.0, 0.0]),
    ("dropout_ridge x=1;1;1;1 y=2,2,2,2 rate=0.25", "value", [1.5]),
    ("noise_ridge x=1;1;1;1 y=2,2,2,2 noise_std=1", "value", [1.0]),
    ("stopping x=1;1 y=3,3 lr=0.5 steps=2", "descent", [2.25]),
    ("kernel first=1,0 second=1,0 activation=identity weight_std=1 depth=3", "ntk", 2.0),
    ("product depth=5", "edge", 14.929920),
    ("marchenko_pastur ratio=4", "high", 9.0),
    ("born_dead width=3 depth=5", "at_one_input", 0.487091),
    ("ridgeless rows=200 features=160 noise_variance=0.25", "exact", 1.025641),
]


@pytest.mark.parametrize(("words", "key", "value"), TOPICS, ids=[words.split()[0] for words, _, _ in TOPICS])
def test_every_topic_answers(words: str, key: str, value: object, capsys: pytest.CaptureFixture[str]) -> None:
    """One call each, with a number that is known otherwise."""
    assert answer(capsys, *words.split())[key] == pytest.approx(value, abs=1e-6)


def test_the_list_names_all(capsys: pytest.CaptureFixture[str]) -> None:
    """Alone it lists everything, summaries under the name of their module, and how a table is given."""
    assert call("theory") == 0
    text = capsys.readouterr().out
    assert "csv=FILE target=COLUMN" in text
    for topic in ("meanfield", "gains", "linear", "quadratic", "ridge", "stopping", "kernel", "spectra", "ridgeless"):
        assert topic in formulas.catalogue()
        assert f"\n{topic} " in f"\n{text}"
    assert all(f.summary.endswith((".", "].")) for f in formulas.catalogue().values())


def test_a_table_gives_x_and_y(table, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    """As given: the formula of the file's numbers in float64. Centred: scikit-learn's ridge with an intercept."""
    path, x, y = table
    found = answer(capsys, "ridge.ridge", f"csv={path}", "target=price", "penalty=2")
    assert found["features"] == ["rooms", "age", "tax"]
    exact = np.linalg.solve(x.T @ x + 2 * np.eye(3), x.T @ y)
    assert found["value"] == pytest.approx(exact.tolist(), rel=1e-10)
    centred = answer(capsys, "ridge", f"csv={path}", "target=price", "penalty=2", "columns=centred")
    peer = Ridge(alpha=2).fit(x, y)
    assert centred["ridge"] == pytest.approx(peer.coef_.tolist(), rel=1e-8)
    level = float(centred["mean_of_target"]) - np.dot(centred["means"], centred["ridge"])  # type: ignore[arg-type]
    assert level == pytest.approx(peer.intercept_, rel=1e-8)
    scaled = answer(capsys, "ridge", f"csv={path}", "target=price", "penalty=2", "columns=standardised")
    peer = Ridge(alpha=2).fit((x - x.mean(0)) / x.std(0), y)
    assert scaled["ridge"] == pytest.approx(peer.coef_.tolist(), rel=1e-8)
    assert scaled["scales"] == pytest.approx(x.std(0).tolist(), rel=1e-12)
    assert "flow" in answer(capsys, "stopping", f"csv={path}", "target=price", "lr=0.001", "steps=100")


MISTAKES = [
    ("summary", "E402", "lists them"),
    ("ridg penalty=1", "E402", "Did you mean 'ridge'?"),
    ("ridge penalty=1 target=price", "E401", "csv is missing"),
    ("ridge penalty=1 csv=FILE", "E401", "target is missing"),
    ("ridge csv=FILE target=price x=1;2", "E401", "given twice"),
    ("ridge csv=FILE target=prize", "E308", "Did you mean 'price'?"),
    ("ridge csv=FILE target=price columns=scaled", "E402", "as_given"),
    ("ridge csv=nowhere.csv target=price", "E307", "nowhere.csv"),
    ("ridge csv=TEXT target=price", "E308", "holds text"),
    ("ridge csv=GAP target=price", "E302", "missing"),
    ("lasso x=1;b y=1,2 penalty=1", "E406", "rows joined by semicolons"),
    ("ridge x=1;2 y=1,b", "E406", "cannot be read"),
    ("meanfield activation=relu weight_std=1 csv=FILE", "E401", "unknown argument 'csv'"),
    ("meanfield activation=relu weight_std=2", "E502", "without bound"),
]


@pytest.mark.parametrize(("words", "code", "helps"), MISTAKES, ids=[words for words, _, _ in MISTAKES])
def test_a_mistake_is_told(words: str, code: str, helps: str, table, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Code and a piece of the text that helps."""
    (tmp_path / "text.csv").write_text("rooms,price\none,2\ntwo,3\n")
    (tmp_path / "gap.csv").write_text("rooms,price\n1,2\n,3\n")
    files = {"FILE": table[0], "TEXT": tmp_path / "text.csv", "GAP": tmp_path / "gap.csv"}
    name, *arguments = words.split()
    given = dict(word.split("=", 1) for word in arguments)
    if "csv" in given:
        given["csv"] = str(files.get(given["csv"], given["csv"]))
    with pytest.raises(ChainruleError) as caught:
        formulas.evaluate(name, given)
    assert caught.value.code == code
    assert helps in str(caught.value)
