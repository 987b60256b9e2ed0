"""``python3 lab.py bench``: measure, print, write ``bench/last/``, say which goals are met."""

import argparse
import dataclasses
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import machine
from bench.contenders import default_engine, engine_name
from bench.page import BOUNDED, plain, sheets
from bench.report import machine_sheet, performance
from bench.results import Results, goals
from bench.tables import BY_ROW, QUICK, SINGLE, Settings, units
from bench.worker import ROOT

LAST = ROOT / "bench" / "last"
DOCS = ROOT / "docs"


def options(words: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="lab.py bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repeats, seeds and rows: a few minutes")
    parser.add_argument("--repeats", type=int, help="timed repeats of every contender")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help=f"tables ({', '.join([*BY_ROW, *SINGLE])}), rows, or both"
    )
    parser.add_argument("--assert", dest="strict", action="store_true", help="exit status 1 if a goal is not met")
    parser.add_argument("--page", action="store_true", help="write docs/performance.md from the last run, and no more")
    parser.add_argument(
        "--print", dest="again", action="store_true", help="print the tables of the last run, and no more"
    )
    parser.add_argument("--fresh", action="store_true", help="begin anew where an interrupted run would be continued")
    found = parser.parse_args(words)
    known = [*BY_ROW, *SINGLE, *Settings().rows]
    unknown = [name for name in found.only if name not in known]
    if unknown:
        parser.error(f"--only {unknown[0]} is not known; known: {', '.join(known)}")
    if found.repeats is not None and found.repeats < 1:
        parser.error("--repeats must be at least 1")
    return found


def say(text: str) -> None:
    """Progress, where errors go."""
    print(text, end="", file=sys.stderr, flush=True)


def begun(chosen: Settings, only: Sequence[str], fresh: bool) -> dict[str, Any]:
    """The results of an interrupted run of the same kind, which is continued, or empty ones."""
    results: dict[str, Any] = {
        "format": 1,
        "machine": machine.described(),
        "engine": engine_name(default_engine()),
        "settings": dataclasses.asdict(chosen) | {"rows": list(chosen.rows), "only": list(only)},
        "tables": {},
        "seconds": {},
        "complete": False,
    }
    file = LAST / "bench.json"
    if fresh or not file.is_file():
        return results
    last: dict[str, Any] = json.loads(file.read_text())
    same = (
        all(last.get(name) == results[name] for name in ("format", "settings", "engine"))
        and all(last["machine"][name] == results["machine"][name] for name in ("commit", "processor", "libraries"))
        and not last["complete"]
    )
    return last if same else results


def write(results: Results) -> None:
    """Keep the results; a reader finds the old file or the new one."""
    LAST.mkdir(parents=True, exist_ok=True)
    new = LAST / "bench.json.new"
    new.write_text(json.dumps(results, indent=1) + "\n")
    os.replace(new, LAST / "bench.json")


def measure(chosen: Settings, only: Sequence[str], fresh: bool) -> dict[str, Any]:
    """Every unit that is not there yet, written as soon as it is."""
    results = begun(chosen, only, fresh)
    plan = units(chosen, only)
    if results["tables"]:
        say(f"bench: {len(results['tables'])} of {len(plan)} parts are there from the interrupted run\n")
    with tempfile.TemporaryDirectory() as store:
        os.environ["CHAINRULE_STORE"] = store  # of this run alone: nothing is found in it, nothing is left
        for table, row, function in plan:
            name = f"{table}/{row}" if row else table
            if name in results["tables"]:
                continue
            say(f"bench: {name} ")
            start = time.perf_counter()
            results["tables"][name] = function(chosen, row, say)
            results["seconds"][name] = time.perf_counter() - start
            say(f" {results['seconds'][name]:.0f} s\n")
            write(results)
    results["complete"] = True
    results["load after"] = machine.load()
    write(results)
    return results


def show(results: Results) -> None:
    """The tables, and the sum of the goals."""
    for sheet in [machine_sheet(results), *sheets(results)]:
        print(plain(sheet))
    found = goals(results, BOUNDED)
    met = sum(goal.met is True for goal in found)
    print(f"bench: {met} of {len(found)} goals met, {sum(g.met is None for g in found)} not measured")


def publish(results: Results) -> None:
    """Write the page, its figure and the numbers behind it."""
    from bench.figure import draw

    (DOCS / "performance.json").write_text(json.dumps(results, indent=1) + "\n")
    with tempfile.TemporaryDirectory() as folder:
        for file in draw(results, Path(folder)):
            if file.suffix == ".svg":
                (DOCS / "performance.svg").write_bytes(file.read_bytes())
    (DOCS / "performance.md").write_text(performance(results))
    print(f"bench: {DOCS / 'performance.md'}")


def main(words: Sequence[str]) -> int:
    """Measure or print; 0, or 1 with ``--assert`` if a goal is not met; 69 if there is no last run."""
    chosen = options(words)
    if chosen.page or chosen.again:
        file = LAST / "bench.json"
        if not file.is_file():
            say("bench: there is no last run: call `python3 lab.py bench` first.\n")
            return 69
        results = json.loads(file.read_text())
        if chosen.page:
            publish(results)
        else:
            show(results)
        return 0
    settings = QUICK if chosen.quick else Settings()
    if chosen.repeats is not None:
        settings = dataclasses.replace(settings, repeats=chosen.repeats)
    try:
        results = measure(settings, chosen.only, chosen.fresh)
    except KeyboardInterrupt:
        say("\nbench: stopped; the same command continues.\n")
        return 130
    from bench.figure import draw

    draw(results, LAST)
    show(results)
    say(f"bench: {LAST}/bench.json, .svg, .png\n")
    missed = any(goal.met is False for goal in goals(results, BOUNDED))
    return 1 if chosen.strict and missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
