"""Skeletons: the text of a new claim or data set, complete enough to run at once."""

import re
from pathlib import Path

import chainrule
from chainrule.errors import ChainruleError

NAME = re.compile(r"[a-z][a-z0-9_]{2,63}")
ROOM = Path(chainrule.__file__).parent

CLAIM = '''r"""The mean of n draws of variance one has variance 1/n.

Replace this statement (one sentence), then derive it here, in plain text with indented formulas:

    Var[(1/n) ∑ x_i] = 1/n

Say where it stops being true.

Source: write author (year), work, equation.
"""

from dataclasses import replace

import numpy as np

from chainrule.evidence.claim import Claim, Part, mistaken
from chainrule.evidence.figure import measured_against_predicted
from chainrule.evidence.rules import agrees
from chainrule.experiment.protocol import Case, Draw, Trials

# prediction ────────────────────────────────────────────────────────────────────────────


def predict(case: Case) -> list[float]:
    """1/n [variance of one draw]."""
    return [1 / float(case["n"])]


# protocol and measurement ──────────────────────────────────────────────────────────────


def trial(case: Case, draw: Draw) -> np.ndarray:
    """The variance of 4,000 means of n normal draws."""
    return np.array([draw("draws").standard_normal((4000, int(case["n"]))).mean(1).var()])


quick = Trials(({"n": 4.0}, {"n": 16.0}), seeds=20, trial=trial)

# control ───────────────────────────────────────────────────────────────────────────────


def no_averaging(case: Case) -> list[float]:
    """1, as if averaging did nothing; must be refuted."""
    return [1.0]


# decision ──────────────────────────────────────────────────────────────────────────────
claim = Claim(
    "Z9",
    "SHORT-NAME",
    __name__,
    __doc__,
    "E",
    (
        Part(
            "the variance of a mean is 1/n",
            predict,
            quick,
            replace(quick, seeds=100),
            rule=agrees(within=0.05),
            tolerance="the sampling error of a variance from 4,000 draws is 2.2 %, of its mean over 20 seeds 0.5 %",
            control=mistaken(no_averaging, "the variance of one draw"),
            figure=measured_against_predicted(
                x="condition", y="variance of the mean [1]", along="conditions", caption="The variance of a mean."
            ),
        ),
    ),
)
'''

DATASET = '''"""A data set in one file: say what it is, and read its rows."""

import numpy as np

from chainrule.dataset import Dataset
from chainrule.randomness import stream


def read(_: object) -> tuple[np.ndarray, np.ndarray]:
    """1,000 points in the plane, labelled by the sign of their product."""
    x = stream(0, "NAME").standard_normal((1000, 2)).astype(np.float32)
    return x, (x[:, 0] * x[:, 1] > 0).astype(np.int64)


dataset = Dataset(
    title="NAME",
    task="classification",
    description="Say why it is suitable.",
    licence="Say under which terms it may be used.",
    citation="Author, year, title.",
    features=("x1", "x2"),
    targets=("sign",),
    classes=("unequal", "equal"),
    read=read,
)
'''


def skeleton(kind: str, name: str, chapters: list[str]) -> tuple[Path, str]:
    """Where a new file goes and what stands in it.

    Args:
        kind: ``"claim"`` or ``"dataset"``.
        name: ``chapter/name`` for a claim, ``name`` for a data set: lower case, digits and underscores.
        chapters: The chapters that there are.

    Returns:
        Its path within the package, and its text.

    Raises:
        ChainruleError: E402 for another kind, E408 for a name that is no module name.
    """
    if kind not in ("claim", "dataset"):
        raise ChainruleError(
            "E402", f"kind={kind!r} is not known.", "Known: claim, dataset.", "chainrule new claim CHAPTER/NAME"
        )
    *chapter, last = name.split("/")
    if (
        not NAME.fullmatch(last)
        or len(chapter) != (kind == "claim")
        or (kind == "claim" and chapter[0] not in chapters)
    ):
        raise ChainruleError(
            "E408",
            f"{name!r} is no name for a {kind}.",
            f"A claim is chapter/name with a chapter of {', '.join(chapters)}; names have 3 to 64 letters "
            "(lower-case), digits and underscores, and begin with a letter.",
            f"chainrule new {kind} {'descent/' if kind == 'claim' else ''}my_{kind}",
        )
    if kind == "claim":
        return ROOM / "claims" / chapter[0] / f"{last}.py", CLAIM.replace("SHORT-NAME", last.replace("_", "-"))
    return ROOM / "datasets" / f"{last}.py", DATASET.replace("NAME", last)
