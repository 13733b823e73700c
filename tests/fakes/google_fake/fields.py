# SPDX-License-Identifier: Apache-2.0
"""Partial answers: "items(name,size),nextPageToken" or "items/name" of the parameter `fields`."""
import re

TOKEN = re.compile(r"[A-Za-z0-9_*]+|[/,()]")


def parse(text):
    """{member: None for all of it, or the like for its members}; ValueError."""
    tokens = TOKEN.findall(text)
    if "".join(tokens) != text or not text:
        raise ValueError(text)
    tree = _list(tokens)
    if tokens:
        raise ValueError(text)
    return tree


def _list(tokens):
    tree = {}
    while True:
        name, below = _path(tokens)
        if below is None or tree.get(name, below) is None:
            tree[name] = None
        else:
            tree.setdefault(name, {}).update(below)
        if not tokens or tokens[0] != ",":
            return tree
        tokens.pop(0)


def _path(tokens):
    if not tokens or tokens[0] in "/,()":
        raise ValueError("a name is missing")
    name = tokens.pop(0)
    if tokens and tokens[0] == "/":
        tokens.pop(0)
        return name, dict([_path(tokens)])
    if tokens and tokens[0] == "(":
        tokens.pop(0)
        tree = _list(tokens)
        if not tokens or tokens.pop(0) != ")":
            raise ValueError("a bracket is open")
        return name, tree
    return name, None


def select(value, tree):
    """What of a JSON value the tree asks for."""
    if tree is None:
        return value
    if isinstance(value, list):
        return [select(item, tree) for item in value]
    if not isinstance(value, dict):
        return value
    if "*" in tree:
        return {name: select(member, tree["*"]) for name, member in value.items()}
    return {name: select(value[name], below) for name, below in tree.items() if name in value}
