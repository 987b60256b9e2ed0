"""Findings and evaluations as one master text: chapters joined, every placeholder filled, every value escaped.

Nothing is computed here. Numbers come from the evidence, are rounded by ``typesetting.interval`` and pass ``escape``.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

import msgspec
import numpy as np

from chainrule.errors import ChainruleError
from chainrule.evidence.comparison import Comparison
from chainrule.evidence.evaluation import Evaluation, Quantity, Sheet
from chainrule.evidence.figure import Figure, Points
from chainrule.evidence.finding import Finding, Outcome, PartFinding
from chainrule.report.typesetting import code, escape, inline, interval, number, paragraphs, slug
from chainrule.table import nearest

TITLE = "The mathematics of neural-network training, claim by claim"
COMMAND = "python3 lab.py report"
WORKFLOW_CONFIDENCE = "95 %"  # of every interval of an Evaluation, by its definition
TABLE_ROWS = 12  # a test with more points shows them in its figure only
HASH_DIGITS = 16  # enough to tell any two apart
DIRECTION = "is larger"  # how the words of the rule ``differs`` begin: its prediction is a direction, not a number

KINDS = {
    "E": "identity or theorem at finite size",
    "Q": "asymptotic theory with a number",
    "B": "bound",
    "D": "direction only, no formula gives the size",
}


@dataclass(frozen=True)
class Document:
    """A report before it is set: everything that the publisher needs.

    Args:
        text: Markdown, with its title block.
        pictures: What the text shows as ``pictures/NAME``.
    """

    text: str
    pictures: dict[str, Figure]


def document(findings: Sequence[Finding], evaluations: Sequence[Evaluation], about: Mapping[str, str]) -> Document:
    """The report of some findings and workflows.

    Args:
        findings: In any order; they are printed in the order of their letters. No id twice.
        evaluations: Classification is printed before regression, otherwise in this order.
        about: ``title``, ``authors`` (separated by semicolons) and ``command`` (what makes this report), each with a
            default; any other entry is printed among the facts of reproduction, ``commit`` for example.

    Returns:
        The document: a pure function of its arguments and of the shipped chapters.

    Raises:
        ChainruleError: E521 for a placeholder in a chapter that names nothing; E523 for two findings of one id.
    """
    findings = sorted(findings, key=lambda finding: (finding.letter[:1], int(finding.letter[1:] or 0), finding.id))
    twice = [name for name, count in Counter(finding.id for finding in findings).items() if count > 1]
    if twice:
        raise ChainruleError(
            "E523",
            f"The claim {twice[0]!r} was given twice.",
            "A report shows one finding of each claim.",
            "choose one profile and pass each finding once",
        )
    evaluations = sorted(evaluations, key=lambda evaluation: evaluation.task != "classification")
    pictures: dict[str, Figure] = {}
    values = {
        "report": {
            **summary(findings, evaluations),
            "verdict table": verdict_table(findings),
            "claim sections": "\n\n".join(claim_section(finding, pictures) for finding in findings)
            or "No claim was tested for this report.",
            "workflow sections": workflows(evaluations, pictures),
            "remarks": remarks(findings),
            "commands": f"```\n{code_line(about.get('command', COMMAND))}\n```",
            "provenance": provenance(findings, evaluations, about),
        }
    }
    for evaluation in reversed(evaluations):  # of two evaluations of one dataset the first is meant
        values[evaluation.data] = facts(evaluation)
    for finding in findings:
        values[finding.id] = quantities(finding)
    text = "\n\n".join(filled(name, chapter, values).strip() for name, chapter in chapters())
    return Document(f"{title_block(about)}\n\n{text}\n", pictures)


# -------------------------------------------------------------------------------------------------------- chapters


def chapters() -> list[tuple[str, str]]:
    """Names and texts of the shipped chapters, in the order of their names."""
    folder = resources.files("chainrule.report").joinpath("chapters")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".md")), key=lambda file: file.name)
    return [(file.name, file.read_text(encoding="utf-8")) for file in files]


def filled(name: str, chapter: str, values: Mapping[str, Mapping[str, str]]) -> str:
    """A chapter with its placeholders replaced, once: what a value contains is text and never a placeholder.

    Args:
        name: The chapter's file, for the error.
        chapter: Markdown with placeholders ``<<owner.quantity>>``.
        values: Owner (``report``, a claim, a dataset) → quantity → Markdown.

    Returns:
        Markdown.

    Raises:
        ChainruleError: E521 for an unknown placeholder.

    Example:
        >>> filled("a.md", "It took <<mnist.seeds>>.", {"mnist": {"seeds": "10 seeds"}})
        'It took 10 seeds.'
    """

    def value(found: re.Match[str]) -> str:
        owner, _, quantity = found[1].partition(".")
        if quantity in values.get(owner, {}):
            return values[owner][quantity]
        line = chapter.count("\n", 0, found.start()) + 1
        known = sorted(values[owner]) if owner in values else sorted(values)
        raise ChainruleError(
            "E521",
            f"chapters/{name}, line {line}: {found[0]} names nothing.",
            f"{nearest(quantity if owner in values else owner, known)}Known: {', '.join(known)}.",
            "correct the placeholder, or put the claim or the dataset into the report",
        )

    return re.sub(r"<<([^<>\n]+)>>", value, chapter)


def title_block(about: Mapping[str, str]) -> str:
    """Title and authors as YAML; the strings are Markdown, quoted as JSON, which YAML contains."""
    authors = [escape(name) for name in about.get("authors", "").split(";") if name.strip()]
    lines = [f"title: {quoted(escape(about.get('title', TITLE)))}", "lang: en-GB"]
    if authors:
        lines += ["author:", *(f"  - {quoted(name)}" for name in authors)]
    return "\n".join(["---", *lines, "---"])


def quoted(text: str) -> str:
    """A string as JSON."""
    return msgspec.json.encode(text).decode()


def code_line(text: str) -> str:
    """Text for a fenced block, which no run of backticks at its beginning can close."""
    return "\n".join(line.replace("```", "'''") for line in text.splitlines())


# --------------------------------------------------------------------------------------------------------- numbers


def counted(many: int, noun: str) -> str:
    """A number with its noun.

    Example:
        >>> counted(1, "claim"), counted(8, "claim")
        ('1 claim', '8 claims')
    """
    return f"{many} {noun}" + ("" if many == 1 else "s")


def percent(share: float) -> str:
    """A confidence: ``95 %``."""
    return f"{number(100 * share)} %"


def enumerated(parts: Sequence[str]) -> str:
    """``a, b and c``."""
    return ", ".join(parts[:-1]) + " and " + parts[-1] if len(parts) > 1 else "".join(parts)


def quantity(q: Quantity) -> str:
    """A quantity of a workflow, escaped: mean, interval over seeds, and the interval for the size of the test set."""
    text = interval(q.mean, q.low, q.high, q.unit, q.note)
    if q.mean is not None and q.binomial_low is not None and q.binomial_high is not None:
        ends = interval(q.mean, q.binomial_low, q.binomial_high).split(" ", 1)
        text += f"; test set {ends[-1]}"
    if q.mean is not None and q.note:
        text += f" ({q.note})"
    return escape(text)


def farthest(comparison: Comparison) -> tuple[int, int]:
    """Condition and point at which the mean over seeds lies farthest from its prediction, an undefined mean first.

    Distances are relative where the prediction is not zero.
    """
    predicted, mean = comparison.predicted, comparison.mean()
    scale = np.where(predicted == 0, 1.0, np.abs(predicted))
    distance = np.nan_to_num(np.abs(mean - predicted) / scale, nan=np.inf)
    i, j = np.unravel_index(int(np.argmax(distance)), distance.shape)
    return int(i), int(j)


def measured_at(comparison: Comparison, i: int, j: int) -> str:
    """Mean over seeds with its simultaneous interval, escaped."""
    low, high = comparison.interval()
    value = float(comparison.mean()[i, j])
    why = f"{counted(int(np.isnan(comparison.measured[i, :, j]).sum()), 'seed')} of {comparison.seeds} diverged"
    return escape(interval(value, float(low[i, j]), float(high[i, j]), comparison.unit, why))


def predicted_at(part: PartFinding, i: int, j: int) -> str:
    """The prediction at a point, escaped; the words of a direction where there is no number."""
    if part.rule.startswith(DIRECTION):
        return "direction only"
    return escape(number(float(part.comparison.predicted[i, j]), part.comparison.unit))


def shown(part: PartFinding) -> tuple[str, str]:
    """What a test predicted and measured, as one pair: the difference it judged, or its farthest point."""
    if not part.rule.startswith(DIRECTION):
        i, j = farthest(part.comparison)
        return predicted_at(part, i, j), measured_at(part.comparison, i, j)
    ends = [
        (low, high)
        for lows, highs in zip(part.verdict.low, part.verdict.high, strict=True)
        for low, high in zip(lows, highs, strict=True)
        if low is not None and high is not None
    ]
    if not ends:
        return "direction only", escape(interval(None, None, None, why="no interval of the difference"))
    low, high = ends[0]
    return "direction only", escape("difference " + interval((low + high) / 2, low, high, part.comparison.unit))


def summary(findings: Sequence[Finding], evaluations: Sequence[Evaluation]) -> dict[str, str]:
    """What chapters may say about the report as a whole."""
    parts = [part for finding in findings for part in finding.parts]
    seeds = sorted({part.comparison.seeds for part in parts})
    outcomes: Counter[Outcome] = Counter(finding.outcome for finding in findings)
    confidences = sorted({part.comparison.confidence for part in parts})
    points = sum(finding.parts[0].comparison.points for finding in findings)
    brief = " ".join(headline(evaluation) for evaluation in evaluations)
    texts = {
        "claims": counted(len(findings), "claim"),
        "tests": counted(len(parts), "test"),
        "seeds": counted(seeds[0], "seed") if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} seeds" if seeds else "no seeds",
        "outcomes": enumerated([f"{outcomes[o]} {o}" for o in ("supported", "refuted", "undecided")]).replace("0 ", "none "),
        "intervals": counted(points, "interval"),
        "confidence": enumerated([percent(c) for c in confidences]) or "none",
        "workflow confidence": WORKFLOW_CONFIDENCE,
        "profiles": enumerated(sorted({finding.provenance.profile for finding in findings})) or "none",
    }  # fmt: skip
    return {**{name: escape(text) for name, text in texts.items()}, "brief": brief}


def headline(evaluation: Evaluation) -> str:
    """A workflow in one sentence: its first fact."""
    for name, fact in evaluation.facts.items():
        return (
            f"On {escape(evaluation.title)}, a network trained with {escape(counted(evaluation.seeds, 'seed'))} "
            f"reached a {escape(name)} of {quantity(fact)}."
        )
    return ""


def quantities(finding: Finding) -> dict[str, str]:
    """What chapters may say about a claim: numbers of the test that decides."""
    part = finding.decisive
    predicted, measured = shown(part)
    return {
        "statement": inline(finding.statement),
        "outcome": finding.outcome,
        "because": inline(finding.because),
        "control": finding.control,
        "kind": finding.kind,
        "predicted": predicted,
        "measured": measured,
        "seeds": escape(counted(part.comparison.seeds, "seed")),
        "section": f"@{label('sec', finding.id)}",
    }


def facts(evaluation: Evaluation) -> dict[str, str]:
    """What chapters may say about a workflow."""
    own = {
        "title": escape(evaluation.title),
        "seeds": escape(counted(evaluation.seeds, "seed")),
        "parameters": escape(counted(evaluation.parameters, "parameter")),
    }
    return own | {name: quantity(fact) for name, fact in evaluation.facts.items()}


# ---------------------------------------------------------------------------------------------------------- blocks


def label(kind: str, name: str) -> str:
    """A label for references: ``sec:gd-stability-threshold``."""
    return f"{kind}:{slug(name)}"


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    caption: str,
    name: str,
    widths: Sequence[int],
    right: int = 99,
) -> str:
    """A pipe table of cells that are Markdown already.

    Args:
        header: Column titles.
        rows: Cells.
        caption: Markdown.
        name: Label.
        widths: Relative widths of the columns, so that no column can push another off the page.
        right: Index of the first column that is set flush right.

    Returns:
        Markdown.
    """
    rule = "|".join("---:" if i >= right else ":---" for i in range(len(header)))
    lines = [f"| {' | '.join(cells)} |" for cells in (header, *rows)]
    total = sum(widths)
    shares = ",".join(str(round(100 * w / total)) for w in widths)
    return "\n".join(
        [lines[0], f"|{rule}|", *lines[1:], "", f': {caption} {{#{label("tbl", name)} widths="{shares}" .small}}']
    )


def definitions(entries: Sequence[tuple[str, str]]) -> str:
    """Terms with their explanations, for short facts in a fixed order."""
    return "\n\n".join(f"{term}\n:   {text}" for term, text in entries if text)


def picture(figure: Figure, name: str, caption: str, pictures: dict[str, Figure]) -> str:
    """An image with its caption; the figure is put among ``pictures``."""
    key = f"{len(pictures) + 1:02d}-{slug(name)[:60]}"
    pictures[key] = figure
    return f"![{caption}](pictures/{key}){{#{label('fig', name)}}}"


def sentence(text: str) -> str:
    """Text that begins with a capital and ends with a full stop.

    Example:
        >>> sentence("agrees within 5 %")
        'Agrees within 5 %.'
    """
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".") if text else ""


def standing(outcome: str, vacuous: bool, exploratory: bool) -> str:
    """An outcome with the marks that qualify it: ``supported, vacuous, exploratory``."""
    return ", ".join([outcome, *(["vacuous"] if vacuous else []), *(["exploratory"] if exploratory else [])])


# ---------------------------------------------------------------------------------------------------------- claims


def verdict_table(findings: Sequence[Finding]) -> str:
    """All verdicts of all tests in one table."""
    if not findings:
        return "No claim was tested for this report."
    rows = []
    for finding in findings:
        for i, part in enumerate(finding.parts):
            exploratory = finding.provenance.label == "exploratory"
            name = f"[**{escape(finding.letter)}** {escape(finding.id)}](#{label('sec', finding.id)})" if i == 0 else ""
            rows.append(
                (name, inline(part.title), finding.kind, standing(part.verdict.outcome, part.vacuous, exploratory),
                 *shown(part), part.control.outcome)
            )  # fmt: skip
    profiles = enumerated(sorted({finding.provenance.profile for finding in findings}))
    several = any(part.comparison.mean().size > 1 for finding in findings for part in finding.parts)
    caption = (
        f"Verdicts of {counted(len(findings), 'claim')} and {counted(len(rows), 'test')} in the profile {escape(profiles)}. "
        "Measured is a mean over seeds with its simultaneous interval in brackets. "
        + (
            "Where a test has several points, the one that lies farthest from its prediction is shown. "
            if several
            else ""
        )
        + "A control has to be refuted. The worst outcome of its tests is the outcome of a claim."
    )
    header = ("Claim", "Test", "Kind", "Outcome", "Predicted", "Measured", "Control")
    return table(header, rows, caption, "verdicts", (19, 22, 6, 12, 12, 18, 11))


def claim_section(finding: Finding, pictures: dict[str, Figure]) -> str:
    """Statement, derivation, and for every test prediction, protocol, rule, figure, verdict and control."""
    source = finding.provenance
    exploratory = source.label == "exploratory"
    first = f"{finding.letter}: {finding.id}"
    blocks = [
        f"## {escape(first)} {{#{label('sec', finding.id)}}}",
        f"::: statement\n{inline(sentence(finding.statement))}\n:::",
        f"**{escape(standing(finding.outcome, finding.vacuous, exploratory).capitalize())}.** "
        f"Kind {finding.kind}: {KINDS[finding.kind]}. Profile {escape(source.profile)}, {escape(source.label)}, "
        f"replicas from {source.first_replica}.",
    ]
    if exploratory:
        blocks.append(
            "*Exploratory: this result comes from pilot seeds or a changed plan, and is no registered evidence.*"
        )
    text = finding.text.strip()
    if text.startswith(finding.statement):  # a docstring begins with its statement, which is printed above
        text = text[len(finding.statement) :].strip()
    if text:
        blocks += ["#### Derivation {.unnumbered .unlisted}", paragraphs(text)]
    several = len(finding.parts) > 1
    for i, part in enumerate(finding.parts, start=1):
        if several:
            blocks.append(f"#### Test {i}: {inline(part.title)} {{.unnumbered .unlisted}}")
        blocks += list(part_blocks(finding, part, i, pictures))
    blocks.append(f"*Source.* {inline(' '.join(finding.source.split()))}")
    return "\n\n".join(blocks)


def part_blocks(finding: Finding, part: PartFinding, i: int, pictures: dict[str, Figure]) -> Iterator[str]:
    """One test of a claim."""
    c = part.comparison
    name = f"{finding.id}-{i}"
    points = c.mean().size
    few = 1 < points <= TABLE_ROWS and not part.rule.startswith(DIRECTION)
    predicted, measured = shown(part)
    if few:
        predicted = f"{escape(counted(points, 'number'))}, in @{label('tbl', name)}"
    elif points > 1 and not part.rule.startswith(DIRECTION):
        predicted = f"{escape(counted(points, 'number'))}, the lines of @{label('fig', name)}"
    yield definitions(
        (
            ("Prediction", sentence(predicted)),
            ("Protocol", inline(sentence(part.protocol))),
            ("Premise", inline(sentence(c.premise_text)) + premise(c) if c.premise_text else ""),
            ("Rule", inline(sentence(f"measured {part.rule}")) + " " + inline(sentence(part.tolerance))),
        )
    )
    yield picture(part.figure, name, caption(part), pictures)
    if few:
        yield points_table(part, name)
    one = f" Measured: {measured}, predicted: {shown(part)[0]}." if not few else ""
    where = " at the point farthest from its prediction" if points > 1 and one else ""
    yield definitions(
        (
            (
                "Verdict",
                f"**{standing(part.verdict.outcome, part.vacuous, finding.provenance.label == 'exploratory').capitalize()}.** "
                f"{inline(sentence(part.verdict.because))}" + one.replace(", predicted", f"{where}, predicted"),
            ),
            (
                "Control",
                f"{inline(sentence(part.control_text))} **{part.control.outcome.capitalize()}.** "
                f"{inline(sentence(part.control.because))}",
            ),
            (
                "Vacuous",
                "The control was not refuted, so this test could not have failed; its verdict carries no weight."
                if part.vacuous
                else "",
            ),
        )
    )


def premise(c: Comparison) -> str:
    """In how many members the hypotheses held."""
    held = sum(sum(row) for row in c.premise)
    return " " + escape(f"It held in {held} of {counted(sum(len(row) for row in c.premise), 'member')}.")


def caption(part: PartFinding) -> str:
    """A caption that can be read without the text: what is shown, what the intervals are, and how it was judged."""
    c = part.comparison
    intervals = any(isinstance(mark, Points) and mark.low for panel in part.figure.panels for mark in panel.marks)
    words = [inline(sentence(part.title))]
    if part.figure.caption.strip() and part.figure.caption.strip(". ") != part.title.strip(". "):
        words.append(inline(sentence(part.figure.caption)))
    if intervals:
        words.append(
            escape(
                f"Points: means over {counted(c.seeds, 'seed')} with intervals that hold together at {percent(c.confidence)}."
            )
        )
    words.append(
        inline(sentence(f"measured {part.rule}")) + f" Outcome: {standing(part.verdict.outcome, part.vacuous, False)}."
    )
    return " ".join(words)


def points_table(part: PartFinding, name: str) -> str:
    """Every point of a test: condition, position, prediction, measurement."""
    c = part.comparison
    conditions, positions = len(c.labels) > 1, len(c.x) > 1
    header = [
        *(["Condition"] if conditions else []),
        *([escape(c.axis or "point")] if positions else []),
        "Predicted",
        "Measured",
    ]
    rows = [
        [
            *([inline(c.labels[i])] if conditions else []),
            *([escape(number(c.x[j]))] if positions else []),
            predicted_at(part, i, j),
            measured_at(c, i, j),
        ]
        for i in range(len(c.labels))
        for j in range(len(c.x))
    ]
    widths = [*([30] if conditions else []), *([14] if positions else []), 22, 34]
    words = f"{inline(sentence(part.title))} Intervals hold together at {escape(percent(c.confidence))}."
    return table(header, rows, words, name, widths)


def remarks(findings: Sequence[Finding]) -> str:
    """What deserves a second look: refuted, undecided, vacuous and exploratory results, each with its reason."""
    lines = []
    for outcome, word in (("refuted", "Refuted"), ("undecided", "Left undecided")):
        lines += [
            f"- {word}: {escape(finding.letter)} ({escape(finding.id)}, @{label('sec', finding.id)}). {inline(sentence(finding.because))}"
            for finding in findings
            if finding.outcome == outcome
        ]
    lines += [
        f"- Vacuous: {escape(finding.letter)} (@{label('sec', finding.id)}), since a control was not refuted."
        for finding in findings
        if finding.vacuous
    ]
    lines += [
        f"- Exploratory: {escape(finding.letter)} (@{label('sec', finding.id)}), since its seeds are pilot seeds."
        for finding in findings
        if finding.provenance.label == "exploratory"
    ]
    if not lines:
        return "All claims of this report were supported, and every control was refuted." if findings else ""
    return "The results that were not plainly supported are these:\n\n" + "\n".join(lines)


# ------------------------------------------------------------------------------------------------------- workflows


def workflows(evaluations: Sequence[Evaluation], pictures: dict[str, Figure]) -> str:
    """The settings of all workflows side by side, then each with its tables and figures."""
    if not evaluations:
        return "No workflow was run for this report."
    sections = [workflow_section(i, evaluation, pictures) for i, evaluation in enumerate(evaluations, start=1)]
    return "\n\n".join([settings(evaluations), *sections])


def settings(evaluations: Sequence[Evaluation]) -> str:
    """What the workflows share in a sentence, and what they do not in a table."""
    names = list(dict.fromkeys(name for evaluation in evaluations for name in evaluation.condition))
    rows: list[tuple[str, list[str]]] = [
        ("task", [evaluation.task for evaluation in evaluations]),
        ("rows for training, validation, test", [" / ".join(map(str, e.rows)) for e in evaluations]),
        ("trainable parameters", [str(e.parameters) for e in evaluations]),
        ("seeds", [str(e.seeds) for e in evaluations]),
        ("diverged members", [str(e.diverged) for e in evaluations]),
        *(
            (name.replace("_", " "), [e.condition.get(name, "–") for e in evaluations])
            for name in names
            if name != "data"
        ),
    ]
    alike = [(name, cells[0]) for name, cells in rows if len(set(cells)) == 1 and len(cells) > 1]
    unlike = [(escape(name), *map(escape, cells)) for name, cells in rows if (name, cells[0]) not in alike]
    common = f" In common: {escape('; '.join(f'{name} {cell}' for name, cell in alike))}." if alike else ""
    heads = ("Setting", *(escape(evaluation.title) for evaluation in evaluations))
    words = "The workflows side by side: the settings in which they differ." if alike else "Settings."
    share = max(8, 72 // len(evaluations))
    return f"@{label('tbl', 'settings')} sets the workflows side by side.{common}\n\n" + table(
        heads, unlike, words, "settings", (28, *(share for _ in evaluations))
    )


def workflow_section(i: int, evaluation: Evaluation, pictures: dict[str, Figure]) -> str:
    """One workflow: the data, how the model was chosen, its tables and figures."""
    name = f"workflow-{i}"
    blocks = [
        f"## {escape(evaluation.title)} {{#{label('sec', name)}}}",
        inline(sentence(evaluation.description)),
        definitions(
            (
                ("Data", f"{inline(sentence(evaluation.citation))} Licence: {inline(sentence(evaluation.licence))}"),
                ("Choice", inline(sentence(evaluation.chosen))),
                ("Diverged", diverged(evaluation)),
            )
        ),
    ]
    blocks += [sheet_table(sheet, f"{name}-{j}", evaluation) for j, sheet in enumerate(evaluation.sheets, start=1)]
    blocks += [
        picture(figure, f"{name}-{key}", inline(sentence(figure.caption or key)), pictures)
        for key, figure in evaluation.figures.items()
    ]
    return "\n\n".join(blocks)


def diverged(evaluation: Evaluation) -> str:
    """How many members diverged, in words; nothing if none did."""
    if not evaluation.diverged:
        return ""
    return escape(f"{evaluation.diverged} of {counted(evaluation.seeds, 'member')}; they count as failures throughout.")


def sheet_table(sheet: Sheet, name: str, evaluation: Evaluation) -> str:
    """A table of quantities; a unit that a whole column shares stands in its head."""
    units = [{row[1][j].unit for row in sheet.rows if row[1][j].mean is not None} for j in range(len(sheet.columns))]
    shared = [next(iter(found)) if len(found) == 1 else "" for found in units]
    heads = [
        escape(f"{column} [{unit}]" if unit not in ("", "1") else column)
        for column, unit in zip(sheet.columns, shared, strict=True)
    ]
    rows = [
        (
            escape(row),
            *(
                quantity(msgspec.structs.replace(q, unit="" if unit else q.unit))
                for q, unit in zip(cells, shared, strict=True)
            ),
        )
        for row, cells in sheet.rows
    ]
    binomial = any(q.binomial_low is not None for _, cells in sheet.rows for q in cells)
    words = (
        f"{inline(sentence(sheet.title))} {escape(evaluation.title)}, means over {escape(counted(evaluation.seeds, 'seed'))}, "
        f"in brackets intervals at {escape(WORKFLOW_CONFIDENCE)}"
        + (", behind the semicolon the Wilson interval for the size of the test set." if binomial else ".")
    )
    widths = (max(16, 60 // (len(heads) + 1)), *(100 // (len(heads) + 1) for _ in heads))
    return table(("", *heads), rows, words, name, widths)


# ---------------------------------------------------------------------------------------------------- reproduction


def provenance(findings: Sequence[Finding], evaluations: Sequence[Evaluation], about: Mapping[str, str]) -> str:
    """Versions, machines, data and plans, by their hashes."""
    versions = [(f.provenance.versions, f.provenance.machine) for f in findings] + [
        (e.versions, "") for e in evaluations
    ]
    rows = [(escape(key), escape(text)) for key, text in about.items() if key not in ("title", "authors", "command")]
    for name in dict.fromkeys(name for found, _ in versions for name in found):
        rows.append((escape(name), escape(enumerated(sorted({found[name] for found, _ in versions if name in found})))))
    machines = sorted({machine for _, machine in versions if machine})
    equality = sorted({finding.provenance.equality for finding in findings})
    rows += [("machine", escape("; ".join(machines)))] if machines else []
    rows += [("equality of bits", escape(enumerated(equality)))] if equality else []
    blocks = []
    if rows:
        blocks.append(table(("Item", "Value"), rows, "Versions and machine.", "versions", (25, 75)))
    data = {e.data: e.data_hash for e in evaluations}
    for finding in findings:
        data |= finding.provenance.data
    if data:
        hashes = [(escape(name), code(data[name])) for name in sorted(data)]
        blocks.append(table(("Dataset", "sha256 of its content"), hashes, "Data.", "data", (20, 80)))
    if findings:
        plans = [
            (f"{escape(f.letter)} {escape(f.id)}", code(f.provenance.plan[:HASH_DIGITS]),
             code(f.provenance.claim_file[:HASH_DIGITS]), escape(f.provenance.profile), str(f.provenance.first_replica))
            for f in findings
        ]  # fmt: skip
        heads = ("Claim", "Plan", "File of the claim", "Profile", "First replica")
        words = f"Registered plans and claim files: the first {HASH_DIGITS} digits of their sha256."
        blocks.append(table(heads, plans, words, "plans", (30, 22, 22, 12, 14)))
    if evaluations:
        runs = [(escape(e.title), code(e.run[:HASH_DIGITS]), code(" ".join(train(e)))) for e in evaluations]
        blocks.append(table(("Workflow", "Run", "Command"), runs, "Workflows.", "runs", (22, 22, 56)))
    return "\n\n".join(blocks)


def train(evaluation: Evaluation) -> Iterator[str]:
    """The command that repeats a workflow, word by word."""
    yield f"chainrule train data={evaluation.data}"
    yield from (f"{name}={value}" for name, value in evaluation.condition.items() if name != "data")
