# SPDX-License-Identifier: Apache-2.0
"""What can be wrong with a notebook: deterministic damage, from a seed."""
import copy
import json
import random

VALUES = [None, True, False, 0, 1, -1, -0, 3, 10 ** 30, 1.0, 0.0, 1.5, -2.5, "", "x", "a,b", "auto",
          "a\nb", "code", "stream", [], ["x"], ["x", "x"], ["a", 1], [[]], {}, {"a": 1},
          {"a": "b"}, {"text/plain": "x"}]
KEYS = ["id", "attachments", "outputs", "execution_count", "source", "metadata", "cell_type",
        "output_type", "data", "text", "name", "ename", "evalue", "traceback", "tags", "format",
        "jupyter", "execution", "collapsed", "scrolled", "kernelspec", "language_info",
        "orig_nbformat", "title", "authors", "worksheets", "nbformat", "nbformat_minor", "cells",
        "application/json", "application/x+json", "application/json\n", "image/png", "", "x y"]
KINDS = ["code", "markdown", "raw", "heading", "Code", "", "stream", "error", "display_data",
         "execute_result", "pyout", 5, None, ["code"]]


def places(node, path=(), depth=0):
    """Each (container, key, path) that the format may have an opinion on."""
    if depth > 6:
        return
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        yield node, key, path + (key,)
        if isinstance(value, (dict, list)) and value:
            if isinstance(value, list) and len(value) > 12:
                # long lists of lines or cells are all alike
                for i in (0, 1, len(value) // 2, len(value) - 1):
                    yield value, i, path + (key, i)
                    if isinstance(value[i], (dict, list)):
                        yield from places(value[i], path + (key, i), depth + 2)
            else:
                yield from places(value, path + (key,), depth + 1)


def of_kind(nb, wanted):
    return [p for p in places(nb) if wanted(*p)]


def pick(rng, nb, wanted=lambda node, key, path: True):
    """A place, each depth as likely as another."""
    by_depth = {}
    for place in of_kind(nb, wanted):
        by_depth.setdefault(len(place[2]), []).append(place)
    if not by_depth:
        return None
    return rng.choice(by_depth[rng.choice(sorted(by_depth))])


def cells(nb):
    return [c for c in nb.get("cells", []) if isinstance(c, dict)] \
        if isinstance(nb.get("cells"), list) else []


def drop(rng, nb):
    place = pick(rng, nb)
    if place:
        del place[0][place[1]]
    return place and place[2]


def retype(rng, nb):
    place = pick(rng, nb)
    if place:
        place[0][place[1]] = copy.deepcopy(rng.choice(VALUES))
    return place and place[2]


def add(rng, nb):
    place = pick(rng, nb, lambda node, key, path: isinstance(node, dict))
    if not place:
        return None
    key = rng.choice(KEYS)
    place[0][key] = copy.deepcopy(rng.choice(VALUES))
    return place[2][:-1] + (key,)


def rename(rng, nb):
    place = pick(rng, nb, lambda node, key, path: isinstance(node, dict))
    if not place:
        return None
    place[0][rng.choice(KEYS)] = place[0].pop(place[1])
    return place[2][:-1]


def kind(rng, nb):
    place = pick(rng, nb, lambda node, key, path: key in ("cell_type", "output_type"))
    if place:
        place[0][place[1]] = rng.choice(KINDS)
    return place and place[2][:-1]


def duplicate_id(rng, nb):
    some = cells(nb)
    if len(some) < 2:
        return None
    a, b = rng.sample(some, 2)
    b["id"] = a.setdefault("id", "same")
    return ()


def odd_id(rng, nb):
    some = cells(nb)
    if not some:
        return None
    rng.choice(some)["id"] = rng.choice(["", "a b", "a" * 64, "a" * 65, "é", "a\n", "-", "_", 7,
                                         "a\0", None, []])
    return ()


def odd_tags(rng, nb):
    some = [c for c in cells(nb) if isinstance(c.get("metadata"), dict)]
    if not some:
        return None
    rng.choice(some)["metadata"][rng.choice(["tags", "tags", "tags", "name"])] = rng.choice(
        [["a", "a"], ["a", "b"], ["a,b"], [""], ["a\n", "a"], "a", [1], ["\n"], [], "", "a\n", "\n"])
    return ()


def minor(rng, nb):
    nb["nbformat_minor"] = rng.choice([0, 1, 2, 3, 4, 5, 5, 6, 7, 100, -1, 4.0, True, "5", 10 ** 25])
    return ()


def major(rng, nb):
    nb["nbformat"] = rng.choice([1, 2, 3, 5, 0, -4, 4.0, True, "4", None, 99, 10 ** 25])
    return ()


def shuffle(rng, nb):
    """The same notebook, its members in another order, at two levels."""
    for node in [nb] + cells(nb) + [o for c in cells(nb) if isinstance(c.get("outputs"), list)
                                    for o in c["outputs"] if isinstance(o, dict)]:
        items = list(node.items())
        rng.shuffle(items)
        node.clear()
        node.update(items)
    return ()


def with_output(rng, nb):
    """An output of each kind, whole, to be damaged by what comes next."""
    some = [c for c in cells(nb) if isinstance(c.get("outputs"), list)]
    if not some:
        return None
    rng.choice(some)["outputs"].extend(copy.deepcopy(rng.choice([
        [{"output_type": "error", "ename": "E", "evalue": "v", "traceback": ["a"]}],
        [{"output_type": "stream", "name": "stdout", "text": ["a"]}],
        [{"output_type": "display_data", "metadata": {},
          "data": {"text/plain": ["a"], "application/json": {"a": 1}}}],
        [{"output_type": "execute_result", "metadata": {}, "execution_count": 1, "data": {}}]])))
    return ()


def with_attachment(rng, nb):
    some = [c for c in cells(nb) if c.get("cell_type") in ("markdown", "raw", "code")]
    if not some:
        return None
    rng.choice(some)["attachments"] = copy.deepcopy(rng.choice(
        [{"a.png": {"image/png": "AAAA"}}, {"a": {"application/json": {}}}, {"a": {"a/b": 1}},
         {"a": 1}, {}, []]))
    return ()


TREE = [drop, drop, drop, retype, retype, retype, retype, add, add, rename, kind, duplicate_id,
        odd_id, odd_tags, minor, minor, major, shuffle, with_attachment]


def mutate_tree(rng, nb):
    """One to three kinds of damage; (names, the path when it was one)."""
    done, path = [], ()
    if rng.random() < 0.3:
        with_output(rng, nb)
    if rng.random() < 0.3:
        done.append("minor")
        minor(rng, nb)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        how = rng.choice(TREE)
        at = how(rng, nb)
        if at is not None:
            done.append(how.__name__)
            path = at
    return "+".join(done) or "none", path if len(done) == 1 else ()


# ---- bytes ----

def cut(rng, data):
    return data[:rng.randrange(len(data))]


def bad_utf8(rng, data):
    i = rng.randrange(len(data))
    return data[:i] + rng.choice([b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\x80", b"\xe2\x82"]) + \
        data[i:]


def bad_byte(rng, data):
    i = rng.randrange(len(data))
    return data[:i] + rng.choice([b"\0", b"\f", b"\v", b"\x1f", b"\\", b"\"", b",", b"{", b"]",
                                  b"x", b"\n"]) + data[i + rng.randrange(2):]


def replace_one(rng, data, old, new):
    at = [i for i in range(len(data)) if data.startswith(old, i)] if len(data) < 20000 else \
        [data.find(old, rng.randrange(len(data)))]
    at = [i for i in at if i >= 0]
    if not at:
        return data
    i = rng.choice(at)
    return data[:i] + new + data[i + len(old):]


def not_a_number(rng, data):
    name = rng.choice([b"NaN", b"Infinity", b"-Infinity"])
    if rng.random() < 0.5:
        return replace_one(rng, data, b"null", name)
    return replace_one(rng, data, b'"metadata": {}', b'"metadata": {"x": ' + name + b"}")


def lone_surrogate(rng, data):
    return replace_one(rng, data, b"\\n", rng.choice([b"\\ud800", b"\\udc00\\ud800",
                                                      b"\\ud83d\\ude00"]))


def twice(rng, data):
    old = rng.choice([b'"cell_type"', b'"metadata"', b'"source"', b'"nbformat"', b'"name"'])
    return replace_one(rng, data, old, old + b":" + rng.choice([b"1", b'"code"', b"{}"]) + b"," +
                       old)


def mark(rng, data):
    return b"\xef\xbb\xbf" + data


def deep(rng, data):
    n = rng.choice([100, 240, 300, 2000])
    return replace_one(rng, data, b'"metadata": {', b'"metadata": {"deep": ' + b"[" * n +
                       b"]" * n + rng.choice([b",", b""]))


def tail(rng, data):
    return data + rng.choice([b"\n\n", b"}", b"x", b"\0", b" \t\r\n", b"\f"])


BYTES = [cut, cut, bad_utf8, bad_utf8, bad_byte, bad_byte, not_a_number, lone_surrogate, twice,
         mark, deep, tail]


def mutants(name, data, count):
    """(how, path or (), bytes), the first of them the notebook itself."""
    yield "as it is", (), data
    rng = random.Random(name)
    try:
        nb = json.loads(data.decode("utf-8"))
    except ValueError:
        nb = None
    for i in range(count):
        if not data:
            return
        if isinstance(nb, dict) and i % 4 != 3:
            mutant = copy.deepcopy(nb)
            how, path = mutate_tree(rng, mutant)
            text = json.dumps(mutant, indent=rng.choice([None, 1]), ensure_ascii=rng.random() < 0.5)
            yield how, path, text.encode("utf-8", "surrogatepass")
        else:
            how = rng.choice(BYTES)
            yield how.__name__, (), how(rng, data)


# ---- all that can be wrong, one at a time ----

def whole(minor):
    """A notebook with every member that nbformat knows."""
    nb = {
        "cells": [
            {"cell_type": "code", "execution_count": 3, "id": "a", "source": ["x\n", "y"],
             "metadata": {"collapsed": True, "scrolled": "auto", "name": "n", "tags": ["a", "b"],
                          "jupyter": {"source_hidden": True}, "execution": {"shell": "t"}},
             "outputs": [
                 {"output_type": "stream", "name": "stdout", "text": ["a\n"]},
                 {"output_type": "error", "ename": "E", "evalue": "v", "traceback": ["a"]},
                 {"output_type": "display_data", "metadata": {"x": 1},
                  "data": {"text/plain": ["a"], "application/x+json": {"a": 1}}},
                 {"output_type": "execute_result", "metadata": {}, "execution_count": 3,
                  "data": {"image/png": "A"}}]},
            {"cell_type": "markdown", "id": "b", "source": "x",
             "attachments": {"a.png": {"image/png": "A"}},
             "metadata": {"name": "m", "tags": ["a"], "jupyter": {}}},
            {"cell_type": "raw", "id": "c", "source": "", "attachments": {},
             "metadata": {"format": "text/html", "name": "r", "tags": [], "jupyter": {}}}],
        "metadata": {
            "kernelspec": {"name": "python3", "display_name": "Python 3"},
            "language_info": {"name": "python", "codemirror_mode": {"version": 3},
                              "file_extension": ".py", "mimetype": "text/x-python",
                              "pygments_lexer": "ipython3"},
            "orig_nbformat": 4, "title": "t", "authors": [{"name": "x"}]},
        "nbformat": 4, "nbformat_minor": minor}
    if minor < 5:
        for cell in nb["cells"]:
            del cell["id"]
    return nb


def paths(nb):
    return [path for _, _, path in places(nb)]


def at(nb, path):
    for part in path[:-1]:
        nb = nb[part]
    return nb, path[-1]


def backwards(node):
    """With the members of each object in the opposite order: what it is comes late."""
    if isinstance(node, dict):
        return {key: backwards(node[key]) for key in reversed(node)}
    return [backwards(v) for v in node] if isinstance(node, list) else node


def each(minor):
    """(how, path, bytes): each member dropped, given each value, and each key added with some."""
    def done(how, path, nb):
        for order in (nb, backwards(nb)):
            yield how, path, json.dumps(order).encode("utf-8")
    yield from done("whole", (), whole(minor))
    for path in paths(whole(minor)):
        nb = whole(minor)
        node, key = at(nb, path)
        for value in VALUES:
            node[key] = copy.deepcopy(value)
            yield from done("retype", path, nb)
        # one member stands for its object, so that each object is added to once
        first = isinstance(node, dict) and key == next(iter(node))
        del node[key]
        yield from done("drop", path, nb)
        for other in KEYS if first else ():
            for value in (None, 1, ["x"], {"a": "b"}):
                nb = whole(minor)
                node, _ = at(nb, path)
                if other not in node:
                    node[other] = value
                    yield from done("add", path[:-1] + (other,), nb)
