"""Links of the documents: each leads to a file that is there, and to a heading in it."""

from pathlib import Path
import re

FOLDERS = ["docs", "deploy", "benches", "tests"]
LINK = re.compile(r"\]\(([^)\s]+)\)")


def dead(root):
    """What is wrong with the links of all documents, one line each."""
    documents = list(root.glob("*.md")) + [path for folder in FOLDERS for path in (root / folder).rglob("*.md")]
    wrong = []
    for document in sorted(documents):
        for target in LINK.findall(prose(document)):
            if "://" in target or target.startswith("mailto:"):
                continue
            name, _, anchor = target.partition("#")
            path = (document.parent / name) if name else document
            if not path.exists():
                wrong.append(f"{document.relative_to(root)}: there is no {target}")
            elif anchor and path.suffix == ".md" and anchor not in anchors(path):
                wrong.append(f"{document.relative_to(root)}: {name or 'this document'} has no heading for #{anchor}")
    return wrong


def prose(path):
    """A document without its code."""
    text = path.read_text(encoding="utf-8")
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(path):
    """The anchors of a document's headings, as GitHub makes them."""
    found = set()
    for heading in re.findall(r"^#+ (.+)$", prose(path), flags=re.MULTILINE):
        words = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower())
        slug, number = words.replace(" ", "-"), 0
        while slug in found:
            number += 1
            slug = f"{words.replace(' ', '-')}-{number}"
        found.add(slug)
    return found
