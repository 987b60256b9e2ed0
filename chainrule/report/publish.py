"""A Document as PDF (pandoc, then typst) and as one HTML file: no LaTeX, no network, and equal bytes every time."""

import base64
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path

from chainrule.errors import ChainruleError
from chainrule.report import draw
from chainrule.report.document import Document
from chainrule.report.typesetting import spelled
from chainrule.store import disk
from chainrule.table import Table

try:
    import pypandoc
    import typst
except ImportError as missing:
    raise ChainruleError(
        "E721",
        f"A library of the report cannot be imported: {missing}.",
        "Reports are set by pandoc and typst, which come as Python packages with everything they need.",
        'pip install "pypandoc_binary>=1.15" "typst>=0.13"',
    ) from missing

PDF_STANDARD = "a-2b"  # for archives: all fonts inside, and a letter without a glyph is an error
NAME = "report"


def publish(document: Document, folder: Path, formats: Sequence[str] = ("pdf", "html")) -> list[Path]:
    """Set a document and write it; a file appears whole or not at all, and only after all were built.

    Args:
        document: What to print.
        folder: Where to; it is made if need be.
        formats: Rows of ``FORMATS``.

    Returns:
        The files written, in the order of ``formats``.

    Raises:
        ChainruleError: E402 unknown format; E522 a figure without labels; E524 what pandoc does not understand; E525
            what typst cannot set; E721 pandoc is missing; E2xx the disk.
    """
    builders = {name: FORMATS[name] for name in formats}
    pictures = drawn(document)
    built = {folder / f"{NAME}.{name}": build(document, pictures) for name, build in builders.items()}
    disk.make_folder(folder)
    for path, contents in built.items():
        disk.write_atomic(path, contents)
    return list(built)


def drawn(document: Document) -> dict[str, bytes]:
    """All pictures of a document as SVG, by the names under which its text shows them."""
    return {f"pictures/{name}.svg": draw.svg(figure) for name, figure in document.pictures.items()}


# ------------------------------------------------------------------------------------------------------------- pdf


def pdf(document: Document, pictures: Mapping[str, bytes]) -> bytes:
    """A document as PDF/A-2b. No clock: the same document gives the same bytes."""
    return compiled({"main.typ": typst_source(document).encode(), **pictures})


def typst_source(document: Document) -> str:
    """A document as typst's source. A letter that no shipped font has is spelled out, by its number."""
    source = pandoc(document, "typst", "report.typ")
    return "".join(c if c in draw.glyphs() or c.isspace() else spelled(c) for c in source)


def compiled(files: dict[str, bytes]) -> bytes:
    """The PDF that typst makes of its files; neither system fonts nor the network are used.

    Raises:
        ChainruleError: E525 with typst's own words.
    """
    try:
        result = typst.compile(  # type: ignore[call-overload]  # its types do not know that files may come as a dict
            files,
            format="pdf",
            font_paths=[draw.fonts()],
            ignore_system_fonts=True,
            pdf_standards=[PDF_STANDARD],
            timestamp=0,
        )
    except typst.TypstError as error:
        raise ChainruleError(
            "E525",
            "typst cannot set the report.",
            f"It says: {(error.diagnostic or str(error)).strip()[:2000]}",
            "look for the named text in the chapters and in the claims' docstrings",
        ) from error
    return bytes(result)


# ------------------------------------------------------------------------------------------------------------ html


def html(document: Document, pictures: Mapping[str, bytes]) -> bytes:
    """A document as one HTML file: pictures, fonts and the script for its formulas inside, nothing fetched."""
    page = pandoc(document, "html5", "report.html", "--toc", "--toc-depth=2", "--number-sections", "--katex")
    for name, picture in pictures.items():
        page = page.replace(f'src="{name}"', f'src="{data_address("image/svg+xml", picture)}"')
    head, tail = surroundings()
    # Text from elsewhere cannot imitate the two marks: pandoc has escaped its angle brackets.
    return page.replace("<!--head-->", head, 1).replace("<!--tail-->", tail, 1).encode()


@cache
def surroundings() -> tuple[str, str]:
    """Policy and style for the head of the page, scripts for its end."""
    scripts = [shipped("style/katex/katex.min.js").decode(), shipped("style/report.js").decode()]
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    policy = "; ".join(
        (
            "default-src 'none'",
            "img-src data:",
            "font-src data:",
            "style-src 'unsafe-inline'",  # alignment of cells, and what KaTeX sets
            "script-src " + " ".join(f"'sha256-{found}'" for found in hashes),  # ours and no other
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    fonts = re.sub(
        r"url\((fonts/[\w-]+\.woff2)\)",
        lambda found: f"url({data_address('font/woff2', shipped(f'style/katex/{found[1]}'))})",
        shipped("style/katex/katex.min.css").decode(),
    )
    head = (
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f"<style>\n{shipped('style/report.css').decode()}</style>\n<style>\n{fonts}</style>"
    )
    return head, "\n".join(f"<script>{script}</script>" for script in scripts)


def data_address(kind: str, contents: bytes) -> str:
    """A file as an address that holds it."""
    return f"data:{kind};base64,{base64.b64encode(contents).decode()}"


# ---------------------------------------------------------------------------------------------------------- pandoc


def shipped(name: str) -> bytes:
    """The contents of a file of this package."""
    with resources.as_file(resources.files("chainrule.report") / name) as path:
        return disk.read_bytes(path)


def pandoc(document: Document, form: str, template: str, *options: str) -> str:
    """A document in another markup, with our template and filter; pandoc reads no other file.

    Raises:
        ChainruleError: E524 with pandoc's own words; E721 if there is no pandoc.
    """
    package = resources.files("chainrule.report")
    with resources.as_file(package) as folder:
        arguments = [
            "--standalone",
            "--fail-if-warnings",
            "--wrap=none",
            f"--template={folder / 'style' / template}",
            f"--lua-filter={folder / 'chainrule.lua'}",
            "--citeproc",
            f"--bibliography={folder / 'references.bib'}",
            "--metadata=link-citations=true",
            "--default-image-extension=svg",
            *options,
        ]
        try:
            return str(pypandoc.convert_text(document.text, form, "markdown", arguments, sandbox=True))
        except RuntimeError as error:
            raise ChainruleError(
                "E524",
                "pandoc does not understand the report.",
                f"It says: {str(error).strip()[:2000]}",
                "look for the named text in the chapters and in the claims' docstrings",
            ) from error
        except OSError as error:
            raise ChainruleError(
                "E721",
                f"pandoc cannot be started: {error}.",
                "The package pypandoc_binary contains it; the package pypandoc alone does not.",
                'pip install "pypandoc_binary>=1.15"',
            ) from error


FORMATS: Table[Callable[[Document, Mapping[str, bytes]], bytes]] = Table("format", __file__, {"pdf": pdf, "html": html})
