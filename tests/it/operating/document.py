"""A document's code blocks, section by section. A block that is of no class is an error, so nothing escapes the test.

    ```sh                                     run, in the shell of its section
    ```text after such a block                what it says; `...` stands for whatever differs from run to run
    <!-- file: NAME -->                       the next block, in any language, is written to that file
    <!-- setup                                commands that are run and not shown
    <!-- fails -->                            the next block must fail, and a ```text block says how
    <!-- proven by: PATH WORDS -->            the next block needs another world; that file, which has those words and every
                                              flag and key= of the block, runs it
    <!-- synopsis -->                         the next block names commands and flags that the program's help must know,
                                              or targets of the Makefile
"""

from dataclasses import dataclass, field
import re


class Unclear(Exception):
    """The document cannot be tested as it stands."""


@dataclass
class Block:
    kind: str  # "run", "fails", "file", "proven", "synopsis"
    text: str
    line: int
    argument: str = ""
    expected: str | None = None
    shown: bool = True


@dataclass
class Section:
    title: str
    blocks: list[Block] = field(default_factory=list)


COMMENTS = {
    "file": re.compile(r"<!-- file: (\S+) -->$"),
    "fails": re.compile(r"<!-- (fails) -->$"),
    "proven": re.compile(r"<!-- proven by: (\S+ .+) -->$"),
    "synopsis": re.compile(r"<!-- (synopsis) -->$"),
}


def read(path):
    """The sections of a document, one for each heading of the second level."""
    with open(path, encoding="utf-8") as file:
        lines = file.read().splitlines()
    sections = [Section("")]
    comment = None  # The kind and argument for the next block, and its line.
    last = None  # The block to which expected output would belong.
    at = 0
    while at < len(lines):
        line, number = lines[at], at + 1
        at += 1
        if line.startswith("```"):
            end = at
            while end < len(lines) and lines[end] != "```":
                end += 1
            if end == len(lines):
                raise Unclear(f"{path}:{number}: this block has no end")
            text = "\n".join(lines[at:end]) + "\n"
            last = add(f"{path}:{number}", sections[-1], line[3:].strip(), text, number, comment, last)
            comment, at = None, end + 1
            continue
        if not line.strip():
            continue
        if comment:
            raise Unclear(f"{path}:{number}: a block was to follow the comment")
        last = None
        if line.startswith("    ") and not in_list(lines, at - 1):
            raise Unclear(f"{path}:{number}: an indented block has no class: fence it")
        if line.startswith("## "):
            sections.append(Section(line[3:].strip()))
        elif line == "<!-- setup":
            end = lines.index("-->", at)
            sections[-1].blocks.append(Block("run", "\n".join(lines[at:end]) + "\n", number, shown=False))
            at = end + 1
        elif line.startswith("<!-- "):
            comment = classify(line)
    for block in (block for section in sections for block in section.blocks):
        if block.kind == "fails" and block.expected is None:
            raise Unclear(f"{path}:{block.line}: this is to fail, and the document does not say with which words")
    return [section for section in sections if section.blocks]


def classify(line):
    for kind, pattern in COMMENTS.items():
        if match := pattern.match(line):
            return kind, match.group(1)
    return None


def in_list(lines, at):
    """Whether an indented line goes on with an item of a list above it."""
    for line in reversed(lines[:at]):
        if line and not line.startswith(" "):
            return re.match(r"([-*]|\d+\.) ", line) is not None
    return False


def add(where, section, language, text, number, comment, last):
    """Adds a block; gives the one that output would belong to."""
    if comment:
        kind, argument = comment
        if kind in ("fails", "proven") and language != "sh":
            raise Unclear(f"{where}: the comment above is for ```sh blocks")
        block = Block(kind, text, number, argument)
    elif language == "sh":
        block = Block("run", text, number)
    elif language == "text" and last and last.expected is None:
        last.expected = text
        return None
    else:
        raise Unclear(f"{where}: a block ```{language} has no class")
    section.blocks.append(block)
    return block if block.kind in ("run", "fails") else None
