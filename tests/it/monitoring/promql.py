"""As much of PromQL as it takes to see which series and labels an expression names, and to take comparisons out of it."""

import re

_TOKEN = re.compile(r"""\s+ | (?P<text>"(?:\\.|[^"\\])*") | (?P<word>[a-zA-Z_:][a-zA-Z0-9_:]*) | (?P<number>[0-9.]+[a-z]*[0-9a-z.]*)
    | (?P<variable>\$\{?\w+\}?) | (?P<sign>=~|!~|!=|==|>=|<=|[-+*/%^<>=(){}\[\],])""", re.VERBOSE)
_LISTS = {"by", "without", "on", "ignoring", "group_left", "group_right"}
_SETS = {"and", "or", "unless"}
_COMPARISONS = {"==", "!=", ">", "<", ">=", "<="}


def tokens(expression):
    """The words and signs, without space."""
    found, at = [], 0
    while at < len(expression):
        match = _TOKEN.match(expression, at)
        if not match:
            raise ValueError(f"no PromQL at {expression[at:at + 20]!r} of {expression!r}")
        at = match.end()
        if match.lastgroup:
            found.append(match.group())
    return found


def _is_name(token):
    return re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*", token) is not None


def named(expression):
    """Its selectors, as (name, [(label, sign, value)]), and the labels that its groupings and joins list."""
    words = tokens(expression)
    selectors, listed, at = [], set(), 0
    while at < len(words):
        word, after = words[at], words[at + 1] if at + 1 < len(words) else ""
        at += 1
        if word in _LISTS and after == "(":
            end = words.index(")", at)
            listed.update(label for label in words[at + 1:end] if label != ",")
            at = end + 1
        elif _is_name(word) and word not in _SETS | {"bool", "offset"} and after not in ("(", "by", "without"):
            matchers = []
            if after == "{":
                end = words.index("}", at)
                inside = [token for token in words[at + 1:end] if token != ","]
                matchers = [(label, sign, value.strip('"'))
                            for label, sign, value in zip(inside[::3], inside[1::3], inside[2::3])]
                at = end + 1
            selectors.append((word, matchers))
    return selectors, listed


def operands(expression):
    """What an expression is a condition on: the parts that `and`, `or` and `unless` join, their comparisons told as 0 or 1.

    A condition that does not hold has no data, and neither has a misspelt one; what it compares must have some.
    """
    parts, part, depth, words = [], [], 0, tokens(re.sub(r"\boffset [0-9]+[smhd]", "", expression))
    skipping = False
    for at, word in enumerate(words):
        after = words[at + 1] if at + 1 < len(words) else ""
        depth += {"(": 1, "{": 1, "[": 1, ")": -1, "}": -1, "]": -1}.get(word, 0)
        if skipping:
            skipping = word != ")"
        elif depth == 0 and word in _SETS:
            parts.append(part)
            part = []
        elif not part and word in ("on", "ignoring") and after == "(":
            skipping = True
        else:
            part.append(word)
            if word in _COMPARISONS and after != "bool" and depth == 0:
                part.append("bool")
    return [" ".join(part) for part in [*parts, part]]
