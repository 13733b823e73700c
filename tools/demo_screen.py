# SPDX-License-Identifier: Apache-2.0
"""What tools/demo.py says to a terminal, or to a file: facts, tables, one line that changes."""
import os
import shutil
import sys


class Screen:
    COLOURS = {"passed": "32", "success": "32", "failed": "31", "failure": "31", "errored": "31",
               "error": "31", "timed_out": "31", "running": "36", "pending": "33", "bold": "1",
               "dim": "2"}

    def __init__(self):
        self.tty = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self.colour = self.tty and not os.environ.get("NO_COLOR")
        self.transient = False

    def paint(self, text, style):
        code = self.COLOURS.get(style)
        return f"\x1b[{code}m{text}\x1b[0m" if code and self.colour else text

    def say(self, text=""):
        self.clear()
        print(text, flush=True)

    def fact(self, name, text):
        self.say(f"  {self.paint(f'{name:<10}', 'bold')}{text}")

    def heading(self, text):
        self.say()
        self.say(self.paint(text, "bold"))

    def live(self, text):
        """One line that the next one replaces; nothing where there is no terminal."""
        if self.tty:
            width = shutil.get_terminal_size().columns - 1
            print("\r\x1b[K" + text[:width], end="", flush=True)
            self.transient = True

    def clear(self):
        if self.transient:
            print("\r\x1b[K", end="")
            self.transient = False

    def table(self, titles, rows, styled):
        """rows of texts; column number styled is painted by its own word."""
        widths = [max(len(row[i]) for row in [titles, *rows]) for i in range(len(titles))]
        widths[-1] = 0

        def line(row, paint):
            cells = [paint(i, f"{text:<{widths[i]}}", text) for i, text in enumerate(row)]
            return "  " + "  ".join(cells).rstrip()
        self.say(line(titles, lambda i, cell, text: self.paint(cell, "dim")))
        for row in rows:
            self.say(line(row, lambda i, cell, text: self.paint(cell, text) if i == styled
                          else cell))


SCREEN = Screen()
