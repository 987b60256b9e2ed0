"""Claims by their names, and what is said of them: as JSON for scripts, as Markdown for the documentation."""

import json

import numpy as np

from chainrule import claims
from chainrule.catalogue import collect
from chainrule.errors import ChainruleError
from chainrule.evidence.claim import KINDS, Claim
from chainrule.evidence.finding import Finding
from chainrule.evidence.shelf import seconds_taken
from chainrule.experiment.condition import Condition, settings
from chainrule.experiment.protocol import Protocol
from chainrule.store.objects import Store
from chainrule.table import nearest

PART_KEYS = ("outcome", "because", "predicted", "measured", "low", "high", "control", "seeds")


def every_claim() -> list[Claim]:
    """All claims, in the order of their letters."""
    found = [value for value in collect(claims, "claim", Claim).values() if isinstance(value, Claim)]
    return sorted(found, key=lambda claim: (claim.letter[:1], int("0" + "".join(filter(str.isdigit, claim.letter)))))


def names_of_claims() -> list[str]:
    """Every name that a claim answers to."""
    return [name for claim in every_claim() for name in (claim.letter, claim.id, claim.file)]


def is_claim(name: str) -> bool:
    """Whether a claim answers to this name."""
    return name in names_of_claims()


def chosen(names: list[str]) -> list[Claim]:
    """The claims that answer to the names; all of them for no name.

    Raises:
        ChainruleError: E402 for a name that no claim and no chapter has.
    """
    catalogue = every_claim()
    if not names:
        return catalogue
    result: list[Claim] = []
    for name in names:
        matching = [c for c in catalogue if name in (c.letter, c.id, c.file, c.chapter)]
        if not matching:
            known = sorted({known for c in catalogue for known in (c.id, c.letter, c.file, c.chapter)})
            raise ChainruleError(
                "E402",
                f"claim={name!r} is not known.",
                f"{nearest(name, known)}Known: {', '.join(c.id for c in catalogue)}.",
                "correct the name; chainrule new claim CHAPTER/NAME writes a new one",
            )
        result += [c for c in matching if c not in result]
    return result


def elsewhere(claim: Claim, changes: dict[str, str]) -> list[dict[str, object]]:
    """What a claim predicts under other conditions; nothing is trained."""
    rows: list[dict[str, object]] = []
    for part in claim.parts:
        protocol = part.quick
        specimens = protocol.conditions if isinstance(protocol, Protocol) else protocol.cases
        for specimen in specimens:
            if isinstance(specimen, Condition):
                changed: Condition | dict[str, float | str] = settings(specimen, dict(changes))
            else:
                unknown = [name for name in changes if name not in specimen]
                if unknown:
                    raise ChainruleError(
                        "E401",
                        f"unknown setting {unknown[0]!r}.",
                        f"{nearest(unknown[0], list(specimen))}The cases of {claim.id} have: {', '.join(specimen)}.",
                        "correct the name",
                    )
                changed = dict(specimen) | {n: type(specimen[n])(v) for n, v in changes.items()}
            rows.append({"test": part.title, "predicted": list(part.predict(changed)), "unit": part.unit})  # type: ignore[arg-type]
    unique = {json.dumps(row): row for row in rows}
    return list(unique.values())


def record(claim: Claim, finding: Finding | None, store: Store) -> dict[str, object]:
    """A claim as JSON: the keys that scripts rely on."""
    row: dict[str, object] = {
        "id": claim.id,
        "letter": claim.letter,
        "file": claim.file,
        "chapter": claim.chapter,
        "kind": claim.kind,
        "statement": claim.statement,
    }
    if finding is None:
        return row | dict.fromkeys((*PART_KEYS, "vacuous", "profile", "seconds", "parts"))
    parts = [
        {
            "title": part.title,
            "outcome": part.verdict.outcome,
            "because": part.verdict.because,
            "predicted": part.comparison.prediction,
            "measured": [[float(v) if np.isfinite(v) else None for v in row] for row in part.comparison.mean()],
            "low": part.verdict.low,
            "high": part.verdict.high,
            "control": part.control.outcome,
            "seeds": part.comparison.seeds,
        }
        for part in finding.parts
    ]
    decisive = parts[finding.parts.index(finding.decisive)]
    return (
        row
        | {name: decisive[name] for name in PART_KEYS}
        | {
            "vacuous": finding.vacuous,
            "profile": finding.provenance.profile,
            "seconds": seconds_taken(store).get(finding.provenance.plan),
            "parts": parts,
        }
    )


def catalogue_page(found: list[Claim]) -> str:
    """The catalogue as Markdown, one row per claim."""
    lines = [
        "# The catalogue of claims",
        "",
        "Written by `chainrule list --markdown`; edit the claims, not this page.",
        "",
        "| | claim | kind | statement | source |",
        "|---|---|---|---|---|",
    ]
    for claim in found:
        cells = (claim.letter, f"`{claim.id}`", claim.kind, claim.statement, claim.source)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*lines, "", *(f"- {kind}: {words}" for kind, words in KINDS.items()), ""])
