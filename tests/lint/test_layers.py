#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tools/layers.py refuses what it must, and nothing else."""
import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tools"))
import layers  # noqa: E402


def long_function(lines, above=""):
    return above + "static void f(void)\n{\n" + "        g();\n" * lines + "}\n"


class Layers(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory(prefix="nbcid-layers-")
        self.addCleanup(self.dir.cleanup)

    def refused(self, path, text):
        """The texts about a tree in which this is the only file."""
        full = os.path.join(self.dir.name, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="utf-8") as f:
            f.write(text)
        found = [text for _, _, text in layers.check(self.dir.name)]
        os.unlink(full)
        return found

    def test_floors(self):
        fine = [("src/web/api.c", "flow"), ("src/web/api.c", "store_view"),
                ("src/flow/run.c", "exec"), ("src/flow/run.c", "store"),
                ("src/exec/local.c", "runner"), ("src/httpc/httpc.c", "loop"),
                ("src/config/config.c", "model"), ("src/forge/github.c", "config"),
                ("src/store/build.c", "model"), ("daemon/serve.c", "web"),
                ("src/base/err.c", "mem"), ("include/nbcid/web.h", "flow"),
                ("src/loop/loop.c", "loop")]
        climbs = [("src/flow/run.c", "web"), ("src/web/api.c", "store"),
                  ("src/web/hook.c", "store_intake"), ("src/model/model.c", "config"),
                  ("src/loop/loop.c", "httpc"), ("src/store/build.c", "loop"),
                  ("src/runner/runner.c", "exec"), ("src/forge/github.c", "notebook"),
                  ("src/forge/github.c", "httpc"), ("src/notebook/head.c", "store"),
                  ("src/base/err.c", "model"), ("include/nbcid/exec.h", "flow"),
                  ("src/base/err.c", "nonesuch")]
        for path, header in fine:
            self.assertEqual(self.refused(path, f"#include <nbcid/{header}.h>\n"), [],
                             (path, header))
        for path, header in climbs:
            self.assertEqual(len(self.refused(path, f"#include <nbcid/{header}.h>\n")), 1,
                             (path, header))

    def test_foreign(self):
        fine = [("src/web/server.c", "microhttpd.h"), ("src/httpc/httpc.c", "curl/curl.h"),
                ("src/git/fetch.c", "git2.h"), ("src/store/db.h", "sqlite3.h"),
                ("src/base/json-private.h", "yajl/yajl_parse.h"),
                ("src/base/crypto.c", "openssl/evp.h"), ("src/loop/loop.c", "systemd/sd-event.h"),
                ("daemon/serve.c", "systemd/sd-daemon.h"), ("src/config/toml.cc", "toml++/toml.h"),
                ("src/exec/local.c", "linux/openat2.h"), ("src/git/git-priv.h", "stdint.h")]
        bad = [("src/web/api.c", "microhttpd.h"), ("src/flow/run.c", "curl/curl.h"),
               ("src/flow/run.c", "git2.h"), ("src/web/api.c", "sqlite3.h"),
               ("include/nbcid/store.h", "sqlite3.h"), ("src/forge/github.c", "yajl/yajl_gen.h"),
               ("src/forge/github.c", "openssl/hmac.h"), ("src/flow/flow.c", "systemd/sd-event.h"),
               ("src/config/repo.c", "toml++/toml.h"), ("src/runner/runner.c", "zmq.h"),
               ("src/base/json.c", "jansson.h")]
        for path, header in fine:
            self.assertEqual(self.refused(path, f"# include <{header}>\n"), [], (path, header))
        for path, header in bad:
            self.assertEqual(len(self.refused(path, f"#include <{header}>\n")), 1, (path, header))

    def test_private(self):
        self.assertEqual(len(self.refused("src/flow/run.c", '#include "../store/db.h"\n')), 1)
        self.assertEqual(len(self.refused("src/flow/run.c", '#include "db.h"\n')), 1)
        self.assertEqual(len(self.refused("include/nbcid/flow.h", '#include "flow-priv.h"\n')), 1)

    def test_sizes(self):
        self.assertEqual(self.refused("src/base/a.c", long_function(60)), [])
        self.assertEqual(len(self.refused("src/base/a.c", long_function(61))), 1)
        self.assertEqual(self.refused("src/base/a.c", long_function(
            61, "/* One case for each key.\n * long: a table in the form of a switch */\n")), [])
        self.assertEqual(len(self.refused("src/base/a.c", long_function(61, "/* long: */\n"))), 1)
        self.assertEqual(len(self.refused("src/base/a.c", long_function(
            61, "/* long: of another function */\nint x;\n\n"))), 1)
        self.assertEqual(self.refused("src/base/a.c", "int a;\n" * 600), [])
        self.assertEqual(len(self.refused("src/base/a.c", "int a;\n" * 601)), 1)

    def test_architecture(self):
        os.makedirs(os.path.join(self.dir.name, "docs"))
        with open(os.path.join(self.dir.name, "docs/ARCHITECTURE.md"), "w", encoding="utf-8") as f:
            f.write("There is a room called loop.\n")
        self.assertEqual(self.refused("include/nbcid/loop.h", ""), [])
        self.assertEqual(len(self.refused("include/nbcid/store_view.h", "")), 1)

    def test_unknown_room(self):
        self.assertEqual(len(self.refused("src/attic/a.c", "")), 1)


if __name__ == "__main__":
    unittest.main()
