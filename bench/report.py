"""The page ``docs/performance.md``: the machine, the tables, how to repeat them."""

from collections.abc import Mapping
from typing import Any

from bench import page
from bench.page import QUIET, Sheet, bytes_of, markdown, sheets
from bench.results import Results, best_rate, undisturbed, unpinned

REPEAT = """## To repeat it

    CHAINRULE_DATA=../shared/data python3 lab.py bench
    python3 lab.py bench --page

The first call installs the peers (JAX on the processor, Keras, curvlinops), measures for about 20 minutes and writes
`bench/last/bench.json` with every sample; interrupted, the same command continues. `--quick` takes a few minutes,
`--only network 64-32-10` a part. The second call writes this page from the JSON. Nothing else should run meanwhile: the
share of a core that the workers had is measured, and told above.
"""


def performance(results: Results) -> str:
    """The whole page."""
    opening = [
        "# Performance",
        "",
        "Written by `python3 lab.py bench --page` from `docs/performance.json`; nothing on this page is typed by hand.",
        "",
        "![Seconds of one epoch per network, every contender](performance.svg)",
        "",
    ]
    body = [markdown(sheet) for sheet in [machine_sheet(results), *sheets(results)]]
    return "\n".join([*opening, *body, REPEAT])


def machine_sheet(results: Results) -> Sheet:
    """The machine and the state it was in."""
    machine: Mapping[str, Any] = results["machine"]
    lines = [
        ("processor", f"{machine['processor']} ({machine['architecture']}), {machine['cores']} core(s)"),
        ("caches", ", ".join(f"{level} {size}" for level, size in machine["caches"].items()) or "not told"),
        ("memory", bytes_of(machine["memory"])),
        ("system", f"{machine['system']}, Python {machine['python']}"),
        ("libraries", ", ".join(f"{name} {v}" for name, v in machine["libraries"].items() if v)),
        ("matrix products", "; ".join(f"{name}: {library}" for name, library in machine["matrix products"].items())),
        ("engine", results["engine"]),
        ("commit", machine["commit"] or "unknown"),
        ("date", machine["started"]),
        ("repeats", f"{results['settings']['repeats']}, medians"),
        ("pinning", "each worker on its own core" if machine["pinned"] else "none on this system: less exact"),
        ("load before and after", f"{machine['load']:.2f}, {results.get('load after', 0.0):.2f}"),
    ]
    if rate := best_rate(results):
        lines.append(("best matrix product", f"{rate / 1e9:.1f} GFLOP/s in float32, one core"))
    if (part := undisturbed(results)) is not None:
        warning = "" if part >= QUIET else ": THE MACHINE WAS BUSY, these timings say little"
        lines.append(("least share of a core", page.percent(part) + warning))
    if lost := unpinned(results):
        lines.append(("pins lost", f"{lost} worker(s) were moved to other cores while they were timed"))
    notes = sorted({one["note"] for one in results["tables"].values() if one.get("note")})
    lines += [("data", note) for note in notes]
    return Sheet("Machine", ("", ""), tuple(lines))
