"""The tables as text, for the screen and for ``docs/performance.md``, from the JSON alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench import results as numbers
from bench.results import Goal, Results, Spread, goals, rows, spread, unit, value

BOUNDED = ("dropout 0.2", "heavy ball", "Adam", "AdamW, weight decay", "L1, proximal", "cosine schedule")
QUIET = 0.97  # the share of a core below which a timing says something about the neighbours


@dataclass(frozen=True)
class Sheet:
    """A table with its heading and what must be known to read it."""

    title: str
    header: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    note: str = ""


def markdown(sheet: Sheet) -> str:
    """A sheet as Markdown."""
    rule = "|" + "---|" * len(sheet.header)
    body = ["| " + " | ".join(line) + " |" for line in (sheet.header, *sheet.lines)]
    return "\n".join([f"## {sheet.title}", "", *([sheet.note, ""] if sheet.note else []), body[0], rule, *body[1:], ""])


def plain(sheet: Sheet) -> str:
    """A sheet in columns."""
    widths = [max(map(len, column)) for column in zip(sheet.header, *sheet.lines, strict=True)]

    def spaced(line: Sequence[str]) -> str:
        return "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()

    body = [spaced(sheet.header), "  ".join("-" * width for width in widths), *map(spaced, sheet.lines)]
    return "\n".join([sheet.title, *([sheet.note] if sheet.note else []), *body, ""])


# cells ───────────────────────────────────────────────────────────────────────────────────


def seconds(number: float | None) -> str:
    """Seconds in a unit that shows three digits.

    Example:
        >>> seconds(0.01234), seconds(1.5), seconds(0.000375)
        ('12.3 ms', '1.50 s', '0.375 ms')
    """
    if number is None:
        return "–"
    if number < 1:
        digits = 3 if number < 1e-3 else 2 if number < 1e-2 else 1 if number < 0.1 else 0
        return f"{number * 1e3:.{digits}f} ms"
    return f"{number:.2f} s" if number < 10 else f"{number:.1f} s"


def times(found: Spread | None) -> str:
    """A ratio with its quartiles."""
    return f"{found.median:.2f}x ({found.low:.2f} to {found.high:.2f})" if found else "–"


def bytes_of(number: float | None) -> str:
    """Bytes in MiB or GiB."""
    if number is None:
        return "–"
    return f"{number / 2**30:.2f} GiB" if number >= 2**30 else f"{number / 2**20:.0f} MiB"


def percent(number: float | None) -> str:
    """A share."""
    return "–" if number is None else f"{100 * number:.0f} %"


# sheets ──────────────────────────────────────────────────────────────────────────────────


def network_sheets(results: Results) -> list[Sheet]:
    """One network, one core: times, then ratios."""
    names = [row for row in rows(results, "network") if unit(results, "network", row)]
    if not names:
        return []
    contenders = list(unit(results, "network", names[0])["contenders"])
    lines, ratios = [], []
    for row in names:
        record = unit(results, "network", row)
        samples = {one: numbers.per_network(record, one) for one in contenders}
        cells = [seconds(spread(s).median) if s else "–" for s in samples.values()]
        floor = numbers.arithmetic(results, row)
        part = percent(numbers.share(results, row))
        lines.append((f"{row}, {record['batch']}, {record['rows']:,} rows", *cells, seconds(floor or None), part))
        ratios.append((row, *(times(numbers.ratio(record, one)) for one in contenders if one != "chainrule")))
    stacks = sorted({unit(results, "network", row)["members"].get("JAX vmap", 0) for row in names})
    vmap = " or ".join(map(str, stacks))
    note = (
        "Seconds of one epoch of one network, medians; every contender in a process of its own with one thread, in "
        "turns. Batch order, gathering and updates are in; reading data, compilation and the first repeat are not. "
        f"chainrule trains blocks of seeds as a run does, JAX vmap {vmap} networks at once. Arithmetic: the matrix "
        "products alone at the best rate found on this machine in the same run; share: that time in chainrule's."
    )
    header = ("network, batch, rows", *contenders, "arithmetic", "share")
    found = [Sheet("One network on one core", header, tuple(lines), note)]
    others = tuple(f"{one} / chainrule" for one in contenders if one != "chainrule")
    words = "How many times longer than chainrule: the median of the quotients of paired repeats, and quartiles."
    found.append(Sheet("The same as ratios", ("network", *others), tuple(ratios), words))
    return [*found, first_sheet(results, names, contenders), losses_sheet(results, names, contenders)]


def first_sheet(results: Results, names: Sequence[str], contenders: Sequence[str]) -> Sheet:
    """What is not in the times: preparation."""
    lines = [
        (row, *(seconds(unit(results, "network", row)["contenders"][one].get("prepared")) for one in contenders))
        for row in names
    ]
    note = (
        "From the start of the process until it is ready to train: imports, data, compilation, two steps of warm-up. "
        "All processes of a row start one after the other."
    )
    return Sheet("Before the first epoch", ("network", *contenders), tuple(lines), note)


def losses_sheet(results: Results, names: Sequence[str], contenders: Sequence[str]) -> Sheet:
    """That all did the same work."""

    def cell(row: str, one: str) -> str:
        loss = unit(results, "network", row)["contenders"][one].get("finish")
        return "–" if loss is None else f"{loss:.4f}"

    lines = [(row, *(cell(row, one) for one in contenders)) for row in names]
    note = (
        "Mean training loss of the first network after all repeats: the same initial weights, the same number of "
        "epochs, another order of the batches."
    )
    return Sheet("The same work", ("network", *contenders), tuple(lines), note)


def seeds_sheets(results: Results) -> list[Sheet]:
    """All seeds on the whole machine."""
    names = [row for row in rows(results, "seeds") if unit(results, "seeds", row).get("contenders")]
    lines = []
    for row in names:
        record = unit(results, "seeds", row)
        for family, one in record["contenders"].items():
            if not one.get("seconds"):
                lines.append((row, family, one.get("absent", "–"), "–", "–", "–"))
                continue
            lines.append(
                (
                    f"{row}, {record['epochs']} epochs",
                    one["setting"],
                    seconds(spread(one["seconds"]).median),
                    seconds(one["start"]),
                    seconds(one["start"] + one["first"]),
                    "1" if family == "chainrule" else times(numbers.seeds_ratio(record, family)),
                )
            )
    if not lines:
        return []
    record = unit(results, "seeds", names[0])
    note = (
        f"{record['seeds']} networks on {record['cores']} core(s), each contender in the best of its settings (two "
        "processes, or one with two threads; JAX by scan or vmap), chosen by a first run. Training alone with the "
        "workers warm; then the start of the workers, and both together, measured once."
    )
    header = ("network", "contender", "training", "start", "start and training", "against chainrule")
    return [Sheet(f"What a user waits for: {record['seeds']} seeds", header, tuple(lines), note)]


def option_sheets(results: Results) -> list[Sheet]:
    """Options beside plain descent."""
    names = [row for row in rows(results, "options") if unit(results, "options", row).get("options")]
    if not names:
        return []
    known = [name for name in unit(results, "options", names[0])["options"] if name != "plain"]
    lines = [
        (one, *(times(numbers.option_ratio(unit(results, "options", row), one)) for row in names)) for one in known
    ]
    note = "chainrule's time with the option over its time with plain stochastic gradient descent, paired repeats."
    return [Sheet("Options", ("option", *names), tuple(lines), note)]


def memory_sheets(results: Results) -> list[Sheet]:
    """Peak memory."""
    record = unit(results, "memory")
    lines = []
    for name in ("chainrule", "JAX vmap", "PyTorch loop"):
        if name in record:
            one, found = record[name], value(record, name)
            count = f"{found['networks']:,}" if found else one.get("absent", "–")
            peaks = (bytes_of(one.get("peak")), bytes_of(found.get("before")), bytes_of(found.get("bytes")))
            lines.append((name, count, *peaks, seconds(one.get("run"))))
    if not lines:
        return []
    note = (
        f"8-64-64-1, batches of 64, {record['steps']} steps: the most bytes resident at any time, those resident "
        "before (libraries and data), and what is kept in the end."
    )
    header = ("contender", "networks", "peak", "before", "kept", "time")
    return [Sheet("Memory", header, tuple(lines), note)]


def target_sheets(results: Results) -> list[Sheet]:
    """Time to a target."""
    found: list[Sheet] = []
    lines: list[tuple[str, ...]]
    header: tuple[str, ...]
    record = unit(results, "mnist")
    if record:
        lines = [(name, *to_accuracy(one)) for name, one in record.get("contenders", {}).items()]
        note = record.get("absent") or (
            "784-256-128-10, heavy ball 0.9, learning rate 0.05, batches of 128, 55,000 rows, one core; training "
            "alone, up to the epoch after which the accuracy is reached; medians over the networks that reach it."
        )
        header = ("contender", "time", "epochs", "reached by", "an epoch", "best accuracy")
        title = f"To {100 * record.get('target', 0.98):.0f} % of MNIST's test rows"
        found.append(Sheet(title, header, tuple(lines) or (("–",) * 6,), note))
    record = unit(results, "california")
    if record:
        lines = []
        for name, one in record.get("contenders", {}).items():
            got = one.get("value") or {}
            cells = (f"{got['epochs']:.1f}", f"{got['loss']:.4f}") if got else (one.get("absent", "–"), "–")
            lines.append((name, seconds(got.get("seconds")), *cells))
        note = record.get("absent") or (
            f"{record['seeds']} networks 8-64-64-1, Adam, learning rate 0.002, batches of 64, {record['epochs']} "
            "epochs with the validation loss after each, one core; mean epoch and mean loss of the best. One run."
        )
        header = ("contender", "time", "best epoch", "validation loss")
        found.append(Sheet("California to its best validation", header, tuple(lines) or (("–",) * 4,), note))
    return found


def to_accuracy(one: Mapping[str, Any]) -> tuple[str, ...]:
    """Time, epochs, how many networks got there, the time of an epoch and the best accuracy of all networks."""
    if "absent" in one:
        return "–", one["absent"], "–", "–", "–"
    runs = [run["value"] for run in one["runs"]]
    there = [run for run in runs if run["reached"]]
    epoch = seconds(spread([run["seconds"] / run["epochs"] for run in runs]).median)
    highest = f"{100 * max(max(run['accuracy']) for run in runs):.2f} %"
    if not there:
        return "–", "–", f"0 of {len(runs)}", epoch, highest
    return (
        seconds(spread([run["seconds"] for run in there]).median),
        f"{spread([run['epochs'] for run in there]).median:g}",
        f"{len(there)} of {len(runs)}",
        epoch,
        highest,
    )


def curvature_sheets(results: Results) -> list[Sheet]:
    """Products, eigenvalues, density."""
    record = unit(results, "curvature")
    lines: list[tuple[str, ...]] = []
    for name, one in record.items():
        got = one.get("value") or {}
        if not got:
            lines.append((name, "–", one.get("absent", "–")))
        elif "product" in got:
            by_hand, by_autograd = got["product"] / got["gradient"], got["product"] / got["autograd"]
            words = f"{by_hand:.2f} gradients by hand, {by_autograd:.2f} by autograd; the first {seconds(got['first'])}"
            lines.append((f"Hessian-vector product, {name}", seconds(got["product"]), words))
        elif "values" in got:
            words = f"residual {got['residual']:.0e}, {got['products']} products, the largest {got['values'][0]:.6f}"
            lines.append((f"five eigenvalues, {name}", seconds(got["seconds"]), words))
        else:
            words = f"{got['highest']:.4g} ± {got['standard error']:.2g} at its highest; {got['probes']} probes"
            lines.append(("spectral density", seconds(one["run"]), words))
    note = (
        "784-256-10, 512 images, one core. Eigenvalues in float64 with their worst relative residual, by Lanczos "
        "here, and by scipy's eigsh on the Hessian of curvlinops and on torch's double backward."
    )
    return [Sheet("Curvature", ("what", "time", ""), tuple(lines), note)] if lines else []


def gpu_sheets(results: Results) -> list[Sheet]:
    """What ran on a GPU, or why nothing did."""
    record = unit(results, "gpu")
    if not record:
        return []
    lines = [
        (row, seconds(one.get("run")), one.get("absent", "")) for row, one in record.items() if isinstance(one, Mapping)
    ]
    note = record.get("absent") or f"One epoch on {record['device']}: the eager PyTorch loop, and R networks at once."
    return [Sheet("GPU", ("network", "time of a repeat", ""), tuple(lines) or (("–", "–", ""),), note)]


def goal_sheets(results: Results) -> list[Sheet]:
    """Goal, measured, met."""
    found = goals(results, BOUNDED)
    lines = tuple((goal.words, required(goal), reached(goal), met(goal)) for goal in found)
    return [Sheet("Goals", ("goal", "required", "measured", "met"), lines)] if lines else []


def required(goal: Goal) -> str:
    """The bound in words."""
    return f"at {'least' if goal.at_least else 'most'} {goal.bound:g}{goal.unit}"


def reached(goal: Goal) -> str:
    """What was measured in words."""
    return "not measured" if goal.measured is None else f"{goal.measured:.2f}{goal.unit}"


def met(goal: Goal) -> str:
    """Whether it was met in a word."""
    return {True: "yes", False: "NO", None: "–"}[goal.met]


SHEETS: tuple[Callable[[Results], list[Sheet]], ...] = (
    network_sheets,
    seeds_sheets,
    option_sheets,
    memory_sheets,
    target_sheets,
    curvature_sheets,
    gpu_sheets,
    goal_sheets,
)


def sheets(results: Results) -> list[Sheet]:
    """All tables of what was measured."""
    return [sheet for make in SHEETS for sheet in make(results)]
