#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Run one notebook as papermill does.  Reads its order, a JSON object, from standard input.

Runs with the system's Python, in a process of its own: the stand-in's environment has no kernel.
Exit status: 0 all cells ran, 1 one did not.  The output is written after each cell.
"""
import contextlib
import datetime
import json
import os
import sys
import time

import nbformat
from jupyter_client.kernelspec import NoSuchKernel
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError


def save(notebook, path):
    with open(path + ".new", "w", encoding="utf-8") as f:
        nbformat.write(notebook, f)
    os.replace(path + ".new", path)


def now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat()


def inject(notebook, parameters):
    """A cell with the parameters, after the one that is tagged so; else at the top."""
    if not parameters:
        return
    lines = [f"{name} = {value!r}" for name, value in parameters.items()]
    code = "\n".join(["# Parameters", *lines])
    cell = nbformat.v4.new_code_cell(code, metadata={"tags": ["injected-parameters"]})
    if (notebook.nbformat, notebook.nbformat_minor) < (4, 5):
        cell.pop("id", None)
    at = [i for i, c in enumerate(notebook.cells) if "parameters" in c.metadata.get("tags", [])]
    notebook.cells.insert(at[0] + 1 if at else 0, cell)


def run_cell(client, cell, index):
    """None, or the error that ended the run."""
    began, start = time.monotonic(), now()
    error = None
    try:
        client.execute_cell(cell, index)
    except (CellExecutionError, DeadKernelError) as e:
        error = e
    cell.metadata["papermill"] = {
        "start_time": start, "end_time": now(), "duration": time.monotonic() - began,
        "exception": error is not None, "status": "failed" if error else "completed"}
    return error


def exits_well(cell):
    """papermill's rule: sys.exit(0) ends a notebook early, and is no failure."""
    errors = [o for o in cell.outputs if o.output_type == "error"]
    return bool(errors) and all(o.ename == "SystemExit" and o.evalue in ("", "0") for o in errors)


def run(notebook, order):
    """Whether all cells ran."""
    about = notebook.metadata["papermill"]
    client = NotebookClient(notebook, kernel_name=about["kernel"], timeout=None,
                            startup_timeout=20, resources={"metadata": {"path": order["cwd"]}})
    with contextlib.ExitStack() as stack:
        for left in 2, 1, 0:
            try:
                stack.enter_context(client.setup_kernel())
                break
            except RuntimeError:  # another kernel that starts now has, or had, one of its ports
                if not left:
                    raise
        for index, cell in enumerate(notebook.cells):
            if cell.cell_type != "code":
                continue
            print(f"Executing Cell {index + 1}", flush=True)
            error = run_cell(client, cell, index)
            save(notebook, order["output"])
            if error:
                about["exception"] = True
                if exits_well(cell):
                    return True
                print(str(error), file=sys.stderr, flush=True)
                return False
    return True


def main():
    order = json.load(sys.stdin)
    with open(order["input"], encoding="utf-8") as f:
        notebook = nbformat.read(f, as_version=4)
    kernel = order["kernel"] or notebook.metadata.get("kernelspec", {}).get("name", "python3")
    inject(notebook, order["parameters"])
    began = time.monotonic()
    about = notebook.metadata["papermill"] = {
        "input_path": order["input_path"], "output_path": order["output_path"],
        "parameters": order["parameters"], "environment_variables": {}, "version": "2.4.0",
        "kernel": kernel, "start_time": now(), "exception": None}
    print(f"Input Notebook:  {order['input_path']}\nOutput Notebook: {order['output_path']}",
          flush=True)
    save(notebook, order["output"])
    try:
        done = run(notebook, order)
    except NoSuchKernel as e:
        print(f"jupyter_client.kernelspec.NoSuchKernel: No such kernel named {e.name}",
              file=sys.stderr)
        done = False
    about["end_time"], about["duration"] = now(), time.monotonic() - began
    save(notebook, order["output"])
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main())
