# SPDX-License-Identifier: Apache-2.0
"""The commands that run notebooks, as far as their arguments: what is to be done, or Failed."""
import argparse
import json

USAGE = 2


class Failed(Exception):
    """The command ends with this exit status, having said why."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


class Arguments(argparse.ArgumentParser):
    def error(self, message):
        raise Failed(USAGE, f"{self.format_usage()}{self.prog}: error: {message}")


def nbexecutor(args):
    p = Arguments(prog="nbexecutor", add_help=False, allow_abbrev=False)
    p.add_argument("--input-notebook", required=True)
    p.add_argument("--output-notebook", required=True)
    p.add_argument("--kernel-name")
    given = p.parse_args(args)
    for uri in (given.input_notebook, given.output_notebook):
        if not uri.startswith("gs://"):
            raise Failed(USAGE, f"nbexecutor: {uri!r} is not a gs:// URI")
    return {"input": given.input_notebook, "output": given.output_notebook,
            "kernel": given.kernel_name, "parameters": {}, "cwd": None}


def papermill(args):
    p = Arguments(prog="papermill", add_help=False, allow_abbrev=False)
    p.add_argument("input")
    p.add_argument("output")
    p.add_argument("-k", "--kernel")
    p.add_argument("--cwd")
    p.add_argument("-p", "--parameters", nargs=2, action="append", default=[])
    p.add_argument("-r", "--parameters_raw", nargs=2, action="append", default=[])
    p.add_argument("-y", "--parameters_yaml", action="append", default=[])
    p.add_argument("--log-output", "--no-log-output", action="store_const", const=True)
    p.add_argument("--progress-bar", "--no-progress-bar", action="store_const", const=True)
    p.add_argument("--request-save-on-cell-execute", "--no-request-save-on-cell-execute",
                   action="store_const", const=True)
    p.add_argument("--start-timeout", "--start_timeout", type=int)
    p.add_argument("--execution-timeout", type=int)
    p.add_argument("--autosave-cell-every", type=int)
    given = p.parse_intermixed_args(args)
    parameters = {}
    for text in given.parameters_yaml:
        try:
            parameters.update(json.loads(text))
        except (ValueError, TypeError):
            raise Failed(1, "the stand-in reads -y as JSON only") from None
    parameters.update({name: typed(text) for name, text in given.parameters})
    parameters.update(dict(given.parameters_raw))
    return {"input": given.input, "output": given.output, "kernel": given.kernel,
            "parameters": parameters, "cwd": given.cwd}


def typed(text):
    """A parameter as papermill takes it: true, none and numbers are no texts."""
    constants = {"True": True, "true": True, "False": False, "false": False, "None": None}
    if text in constants:
        return constants[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


COMMANDS = {"nbexecutor": nbexecutor, "papermill": papermill}
