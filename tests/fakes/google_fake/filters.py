# SPDX-License-Identifier: Apache-2.0
"""The filter language of lists (AIP-160, the part that is in use): a text becomes a predicate.

    labels.key=value   labels.key:*   state="JOB_STATE_RUNNING" AND NOT display_name:"x*"
"""
import fnmatch
import re

from .clock import parse_stamp

TOKEN = re.compile(r'\s*(?:(?P<op><=|>=|!=|[=<>:()])|"(?P<quoted>(?:[^"\\]|\\.)*)"|'
                   r'(?P<word>[^\s=<>!:()"]+))')
COMPARISONS = ("=", "!=", "<", ">", "<=", ">=", ":")


class BadFilter(Exception):
    pass


def tokens(text):
    """[(kind, text)]: kind is "op", "quoted" or "word"."""
    found, at = [], 0
    text = text.rstrip()
    while at < len(text):
        match = TOKEN.match(text, at)
        if not match:
            raise BadFilter(f"unexpected text at {at}")
        value = match[match.lastgroup]
        if match.lastgroup == "quoted":
            value = re.sub(r"\\(.)", r"\1", value)
        found.append((match.lastgroup, value))
        at = match.end()
    return found


class Parser:
    """known(name): whether this is a field.  implicit: AND may be left out, as in Logging."""

    def __init__(self, text, known, implicit=False):
        self._rest, self._known, self._implicit = tokens(text), known, implicit

    def parse(self):
        if not self._rest:
            return lambda values: True
        predicate = self._or()
        if self._rest:
            raise BadFilter(f"unexpected {self._rest[0][1]!r}")
        return predicate

    def _next_is(self, text, kind):
        return bool(self._rest) and self._rest[0] == (kind, text)

    def _or(self):
        terms = [self._and()]
        while self._next_is("OR", "word"):
            self._rest.pop(0)
            terms.append(self._and())
        return terms[0] if len(terms) == 1 else lambda v: any(t(v) for t in terms)

    def _and(self):
        terms = [self._not()]
        while True:
            if self._next_is("AND", "word"):
                self._rest.pop(0)
            elif not (self._implicit and self._rest and not self._next_is(")", "op") and
                      not self._next_is("OR", "word")):
                break
            terms.append(self._not())
        return terms[0] if len(terms) == 1 else lambda v: all(t(v) for t in terms)

    def _not(self):
        if self._next_is("NOT", "word"):
            self._rest.pop(0)
            term = self._not()
            return lambda v: not term(v)
        if self._next_is("(", "op"):
            self._rest.pop(0)
            inner = self._or()
            if not self._next_is(")", "op"):
                raise BadFilter("a bracket is open")
            self._rest.pop(0)
            return inner
        return self._comparison()

    def _comparison(self):
        if len(self._rest) < 3:
            raise BadFilter("a comparison is not complete")
        (kind, name), (op_kind, op), (value_kind, value) = self._rest[:3]
        del self._rest[:3]
        if kind != "word" or op_kind != "op" or op not in COMPARISONS or value_kind == "op":
            raise BadFilter(f"unexpected {op!r}")
        if not self._known(name):
            raise BadFilter(f"unknown field {name!r}")
        return compare(name, op, value)


def compare(name, op, value):
    if op == ":":
        return lambda v: has(v.get(name), value)
    if op in ("=", "!="):
        return lambda v: (v.get(name) == value) == (op == "=")
    try:
        wanted = parse_stamp(value)
    except ValueError:
        raise BadFilter(f"{value!r} is not a time") from None
    order = {"<": lambda a: a < wanted, ">": lambda a: a > wanted,
             "<=": lambda a: a <= wanted, ">=": lambda a: a >= wanted}[op]

    def ordered(values):
        return isinstance(values.get(name), float) and order(values[name])
    return ordered


def has(value, wanted):
    """`:` of a text: it is there, is this, or matches the pattern with stars."""
    if value is None:
        return False
    if "*" not in wanted:
        return value == wanted
    pattern = re.sub(r"[?[]", lambda m: f"[{m[0]}]", wanted)
    return fnmatch.fnmatchcase(str(value), pattern)


def compile_filter(text, known, implicit=False):
    """A predicate of {field: value}, or BadFilter.  Times are seconds, as float."""
    return Parser(text or "", known, implicit).parse()
