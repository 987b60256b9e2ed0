"""Words and numbers as text: the one function that escapes, the one that rounds, and docstrings as paragraphs."""

import math
import re
import unicodedata
from collections.abc import Iterator
from itertools import pairwise, zip_longest

SIGNIFICANT = 2  # digits of the half-width that decide how far a number is printed (GUM 2008, section 7.2.6)
LONGEST = 8  # digits: an interval that would need more of them is no interval, but rounding
FEWEST = 4  # digits of a number that has no interval

_ADDRESS = r"https://[A-Za-z0-9./_%?=&~+-]*[A-Za-z0-9/]"
_LINK = re.compile(f"({_ADDRESS})")

UP = str.maketrans("0123456789-+", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺")

# ------------------------------------------------------------------------------------------------------------ text


def visible(text: str) -> str:
    r"""One line of text in which nothing is hidden: no control, no bidirectional override, no zero width.

    White space becomes single spaces; what has no glyph of its own is spelled out.

    Example:
        >>> visible("a\tb\x1b[31m")
        'a b[U+001B][31m'
    """
    kept = (
        " " if character.isspace() else character if unicodedata.category(character)[0] != "C" else spelled(character)
        for character in text
    )
    return " ".join("".join(kept).split())


def spelled(character: str) -> str:
    """A character by its number: ``[U+202E]``."""
    return f"[U+{ord(character):04X}]"


def escape(text: str) -> str:
    r"""Any string as Markdown that is read back as the same characters: every value in the report passes here.

    Pandoc takes a backslash before any ASCII punctuation for "this character and nothing else".

    Example:
        >>> print(escape("<b> | $x$"))
        \<b\> \| \$x\$
    """
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", visible(text))


def linked(text: str) -> str:
    r"""Any string as Markdown, escaped, but with its https addresses as links to what they say.

    Example:
        >>> print(linked("LeCun (1998), https://yann.lecun.com/exdb/mnist"))
        LeCun \(1998\)\, <https://yann.lecun.com/exdb/mnist>
    """
    parts = _LINK.split(visible(text))
    return "".join(f"<{part}>" if i % 2 else _words(part, False) for i, part in enumerate(parts))


def code(text: str) -> str:
    """A string in the typewriter face; the fence is longer than any run of backticks inside.

    Example:
        >>> code("lr=0.1")
        '`lr=0.1`'
    """
    text = visible(text) or " "
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    pad = " " if text[0] == "`" or text[-1] == "`" else ""
    # A bar would end a table's cell even inside code; there the escaped words must do.
    return escape(text) if "|" in text else f"{fence}{pad}{text}{pad}{fence}"


def slug(text: str) -> str:
    """A name for files and labels: lower-case letters, digits and hyphens.

    Example:
        >>> slug("Learning curves <1>")
        'learning-curves-1'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "x"


# --------------------------------------------------------------------------------------------------------- numbers


def decimals(half_width: float) -> int:
    """Places after the point that show two significant digits of a half-width; negative left of the point.

    Example:
        >>> decimals(0.0436), decimals(4.36), decimals(436.0)
        (3, 1, -1)
    """
    rounded = float(f"{half_width:.{SIGNIFICANT - 1}e}")  # 0.0996 is 0.10 and 9.9999e-5 is 0.00010
    return SIGNIFICANT - 1 - math.floor(math.log10(rounded))


def interval(value: float | None, low: float | None, high: float | None, unit: str = "", why: str = "") -> str:
    """A number with its interval, both as exact as the interval is wide.

    Args:
        value: What was measured; ``None`` or not finite if it is undefined.
        low: Lower end; ``None`` or not finite if there is no interval.
        high: Upper end; an interval without width is not printed.
        unit: Printed behind, unless it is ``""`` or ``"1"``.
        why: The reason, where ``value`` is undefined.

    Returns:
        The number as plain text.

    Source:
        JCGM (2008), Guide to the expression of uncertainty in measurement, section 7.2.6: two digits of uncertainty.

    Example:
        >>> interval(2.28012, 2.2362, 2.3234), interval(98.2, None, None, "%")
        ('2.280 [2.236, 2.323]', '98.2 %')
        >>> interval(None, None, None, why="one class only")
        'undefined (one class only)'
    """
    if value is None or not math.isfinite(value):
        return f"undefined ({why})" if why else "undefined"
    known = [v for v in (low, high) if v is not None and math.isfinite(v)]
    half = (known[1] - known[0]) / 2 if len(known) == 2 else 0.0
    largest = max(abs(v) for v in (value, *known))
    leading = math.floor(math.log10(largest)) if largest else 0
    if half <= largest * 10.0 ** (1 - LONGEST):
        half = 0.0
    places = decimals(half) if half > 0 else FEWEST - 1 - leading
    power = leading if largest and not 1e-4 <= largest < 1e7 else 0
    shown = [_fixed(v / 10.0**power, places + power, trim=half == 0) for v in (value, *known)]
    text = f"{shown[0]} [{shown[1]}, {shown[2]}]" if half > 0 else shown[0]
    if power:
        text = f"({text})" if half > 0 else text
        text += f" × 10{str(power).translate(UP)}"
    return text if unit in ("", "1") else f"{text} {unit}"


def number(value: float | None, unit: str = "", why: str = "") -> str:
    """A number without an interval, to four digits.

    Example:
        >>> number(0.25), number(1.683168), number(-2e-12), number(1797.0)
        ('0.25', '1.683', '−2 × 10⁻¹²', '1797')
    """
    if value is None or not math.isfinite(value) or value != round(value) or abs(value) >= 1e7:
        return interval(value, None, None, unit, why)
    text = _fixed(value, 0, trim=False)  # whole numbers stay whole
    return text if unit in ("", "1") else f"{text} {unit}"


def _fixed(value: float, places: int, trim: bool) -> str:
    text = f"{round(value, places):.{max(places, 0)}f}"
    if trim and "." in text:
        text = text.rstrip("0").rstrip(".")
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", "−")


# ------------------------------------------------------------------------------------------------------ docstrings

_TOKEN = re.compile(
    r"""``(?P<code>[^`]+)``|`(?P<name>[^`\n]+)`
    |\$(?P<maths>(?=[^\s$])(?:[^$\\]|\\.)*?(?<=\S))\$(?!\d)
    |(?P<link>"""
    + _ADDRESS
    + r""")
    |(?:(?<![A-Za-z0-9_\\])(?P<base>[A-Za-zΑ-Ωα-ωϕℓ∂∇∑∏∫])|(?<=[)\]}²³ᵀ'′*]))
     _(?P<sub>\{[^{}\n]{1,24}\}|[A-Za-z0-9α-ω∞]{1,4}(?![A-Za-z0-9_]))
    |\^(?P<sup>\{[^{}\n]{1,24}\}|\([^()\n]{1,12}\)|[-−]?[A-Za-z0-9]{1,3}(?![A-Za-z0-9]))""",
    re.VERBOSE,
)


def inline(text: str, formula: bool = False) -> str:
    r"""A line of a docstring as Markdown: code, LaTeX between dollars, links, and ``x_{l-1}``, ``x^2`` as indices.

    Everything else is escaped. Names such as ``weight_std`` stay whole: only a single letter carries an index.

    Args:
        text: Plain text with Unicode formulas.
        formula: Whether single Latin letters are variables, to be set in italics.

    Returns:
        Markdown.

    Example:
        >>> print(inline("var_l: σ_w² / 2 of h_{l-1}"))
        var\_l\: σ~w~² \/ 2 of h~l−1~
    """
    out, at = [], 0
    for m in _TOKEN.finditer(text):
        out.append(_words(text[at : m.start()], formula))
        at = m.end()
        if m["code"] or m["name"]:
            out.append(code(m["code"] or m["name"]))
        elif m["maths"]:
            out.append(f"${m['maths']}$")
        elif m["link"]:
            out.append(f"<{m['link']}>")
        elif m["sub"]:
            out.append(f"{_words(m['base'] or '', formula)}~{_index(m['sub'], formula)}~")
        else:
            out.append(f"^{_index(m['sup'], formula)}^")
    out.append(_words(text[at:], formula))
    return "".join(out)


def _index(text: str, formula: bool) -> str:
    inner = text[1:-1] if text[0] in "{(" else text
    return _words(inner.replace("-", "−"), formula).replace(" ", r"\ ")


def _words(text: str, formula: bool) -> str:
    # visible() trims, but here the blanks at both ends separate this stretch from its neighbours
    before, after = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :] if text.strip() else ""
    text = re.sub(r"(?<=[Α-Ωα-ωϕ])'|(?<=\b[A-Za-z])'(?![A-Za-z])", "′", text)
    text = re.sub(r"(?<=[A-Za-z])'(?=[a-z])", "’", text)
    text = re.sub(r"(?<![^\s(\[=,±])-(?!-)", "−", text)  # a minus sign, not a hyphen
    text = re.sub(r"(?<![\w.])(\d+(?:\.\d+)?)e([-+]?)0?(\d{1,3})(?!\w)", _power, text)
    text = escape(text)
    if formula:
        text = re.sub(r"(?<![A-Za-z\\])([A-Za-z])(?![A-Za-z(])", r"*\1*", text)
    return (" " if before else "") + text + (" " if after else "")


def _power(found: re.Match[str]) -> str:
    ten = f"10{(found[2].strip('+') + found[3]).translate(UP)}"
    return ten if found[1] == "1" else f"{found[1]} × {ten}"


def paragraphs(text: str) -> str:
    """A docstring as Markdown blocks: paragraphs, lists, and displayed formulas where lines are indented by four.

    The lines of a formula stay lines, and two or more blanks inside one stay a gap.

    Args:
        text: Cleaned of its common indent.

    Returns:
        Markdown, blocks separated by blank lines.
    """
    blocks = list(_blocks(text.expandtabs().splitlines()))
    joints = ["\n" if _item(a) and _item(b) else "\n\n" for a, b in pairwise(blocks)]  # a list has no gaps
    return "".join(part for pair in zip_longest(blocks, joints, fillvalue="") for part in pair)


def _blocks(lines: list[str]) -> Iterator[str]:
    at = 0
    while at < len(lines):
        if not lines[at].strip():
            at += 1
            continue
        start = at
        if lines[at].startswith("    "):
            while at < len(lines) and (lines[at].startswith("    ") or not lines[at].strip()):
                at += 1
            yield _formula(lines[start:at])
            continue
        at += 1
        while at < len(lines) and lines[at].strip() and not lines[at].startswith("    ") and not _item(lines[at]):
            at += 1
        words = " ".join(line.strip() for line in lines[start:at])
        item = _item(words)
        yield f"{item[1].replace('*', '-')} {inline(words[item.end() :])}" if item else inline(words)


def _item(line: str) -> re.Match[str] | None:
    return re.match(r"\s{0,3}([-*•]|\d{1,2}[.)])\s+", line)


def _formula(lines: list[str]) -> str:
    while not lines[-1].strip():
        lines = lines[:-1]
    indent = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
    rows = []
    for line in lines:
        body = line[indent:].rstrip()
        gap = len(body) - len(body.lstrip())
        # A no-break space keeps an alignment, an em space separates formulas that share a line.
        columns = [inline(part, formula=True) for part in re.split(r"\s{2,}", body.strip())]
        rows.append("| " + "\u00a0" * gap + "\u2003".join(columns) if body else "|")
    return "::: formula\n" + "\n".join(rows) + "\n:::"
