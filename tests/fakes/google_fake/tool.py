#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""tool.py COMMAND ARGS: `papermill` and `nbexecutor` in the PATH of a container's shell.

$STANDIN_GCS is where /gcs/ and gs:// are.  Works in the directory that it is called in.
"""
import json
import os
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from commands import COMMANDS, Failed  # noqa: E402

GCS = os.environ["STANDIN_GCS"]


def place(path):
    return GCS + path[len("gs://"):] if path.startswith("gs://") else path


def main():
    try:
        what = COMMANDS[sys.argv[1]](sys.argv[2:])
    except Failed as e:
        print(e, file=sys.stderr)
        return e.code
    order = {"input": place(what["input"]), "output": place(what["output"]),
             "kernel": what["kernel"], "parameters": what["parameters"],
             "cwd": what["cwd"] or os.getcwd(),
             "input_path": what["input"], "output_path": what["output"]}
    with tempfile.TemporaryFile() as f:
        f.write(json.dumps(order).encode())
        f.seek(0)
        os.dup2(f.fileno(), 0)
    os.execv(sys.executable, [sys.executable, "-I", os.path.join(HERE, "execute.py")])
    return 1


if __name__ == "__main__":
    sys.exit(main())
