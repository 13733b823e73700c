# SPDX-License-Identifier: Apache-2.0
"""Asks kernels whether cells are code of their language; none is run.

The pipe is that of syntax.py, with the kernel's name after the number of cells.  A kernel parses
for `is_complete_request`; it is started once, over ipc sockets in a directory of ours.
"""
import json
import os
import sys
import tempfile

START = 60  # seconds; the parent waits no longer
ANSWER = 10
MOST = 100  # findings of a notebook


class Kernels:
    def __init__(self):
        self.clients = {}
        self.managers = []
        self.dir = tempfile.mkdtemp(prefix='nbcid-')
        os.environ['JUPYTER_RUNTIME_DIR'] = self.dir

    def client(self, name):
        if name not in self.clients:
            from jupyter_client.manager import KernelManager
            manager = KernelManager(kernel_name=name, transport='ipc',
                                    ip=os.path.join(self.dir, f'k{len(self.managers)}'))
            self.managers.append(manager)
            manager.start_kernel(stdout=2, stderr=2, cwd=self.dir)
            client = manager.blocking_client()
            client.start_channels()
            client.wait_for_ready(timeout=START)
            self.clients[name] = client
        return self.clients[name]

    def close(self):
        for manager in self.managers:
            try:
                manager.shutdown_kernel(now=True)
            except Exception:
                pass


def judge(client, text):
    """None, or what the kernel says against it."""
    reply = client.is_complete(text)
    while True:
        message = client.get_shell_msg(timeout=ANSWER)
        if message['parent_header'].get('msg_id') == reply:
            break
    status = message['content'].get('status')
    return {'invalid': 'the kernel says that this is not valid code',
            'incomplete': 'the kernel says that this code has no end'}.get(status)


def check_notebook(kernels, name, cells):
    found, more = [], 0
    for number, text in cells:
        item = {'cell': number, 'line': 0, 'column': 0, 'checked': True}
        try:
            item['message'] = judge(kernels.client(name), text)
        except Exception as e:
            item.update(checked=False, message=f'kernel {name}: {type(e).__name__}: {e}'[:400])
        if item['message'] and len(found) < MOST:
            found.append(item)
        elif item['message']:
            more += 1
        if not item['checked']:
            break
    return found + [{'more': more}] * (more > 0)


def main():
    inlet, outlet = sys.stdin.buffer, os.fdopen(os.dup(1), 'wb')
    os.dup2(2, 1)  # whatever a library prints is no answer
    import site
    site.main()
    kernels = Kernels()
    while True:
        head = inlet.readline().split()
        if not head:
            break
        cells = []
        for _ in range(int(head[1])):
            number, size = inlet.readline().split()
            cells.append((int(number), inlet.read(int(size)).decode('utf-8', 'replace')))
        found = check_notebook(kernels, head[2].decode(), cells)
        outlet.write(json.dumps(found).encode() + b'\n')
        outlet.flush()
    kernels.close()


if __name__ == '__main__':
    main()
