# SPDX-License-Identifier: Apache-2.0
"""Which kernels there are for a notebook, and where they listen: a part of engine.py."""
import asyncio
import json
import os
import random
import re
import socket

from jupyter_client.connect import port_names
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager, NoSuchKernel
from traitlets import TraitError

ASK_TIMEOUT = 60  # until an image has said which kernels it has
ASK_MAX = 1024 * 1024  # bytes of its answer
PORT_MIN = 10000  # below are those of well known services
PORT_RANGE = '/proc/sys/net/ipv4/ip_local_port_range'


def can_bind(family, address):
    """The socket, or None where another has it."""
    s = socket.socket(family)
    try:
        s.bind(address)
        return s
    except OSError:
        s.close()
        return None


def quiet_ports(count):
    """That many free ports in a row, out of those that the system gives to nobody who does not ask
    for them by number; and a socket that keeps other runs from them while it is open. Or none,
    where there are not enough."""
    try:
        with open(PORT_RANGE, encoding='ascii') as f:
            end = int(f.read().split()[0])
    except (OSError, ValueError, IndexError):
        return [], None
    firsts = range(PORT_MIN, end - count, count)
    for first in random.sample(firsts, min(100, len(firsts))):
        # The names of these sockets belong to the network namespace, like the ports.
        keep = can_bind(socket.AF_UNIX, f'\0nbcid/ports/{first}')
        if not keep:
            continue
        tried = [can_bind(socket.AF_INET, ('127.0.0.1', first + i)) for i in range(count)]
        for s in tried:
            if s:
                s.close()
        if all(tried):
            return list(range(first, first + count)), keep
        keep.close()
    return [], None


def listed(text):
    """The kernelspecs that "jupyter kernelspec list --json" printed, perhaps below what the
    image's entry point had to say; or None."""
    try:
        said, _ = json.JSONDecoder().raw_decode(text, ('\n' + text).index('\n{'))
        return said['kernelspecs'] if isinstance(said['kernelspecs'], dict) else None
    except (ValueError, KeyError, RecursionError):
        return None


class Kernels(KernelSpecManager):
    """The kernels that a notebook may have, by name: those of its environment before those of the
    executor, and only one Python; or what there is in a container. found: {name: KernelSpec}"""

    def __init__(self, spec):
        super().__init__()
        self.prefix = spec.get('prefix')
        self.container = spec.get('container') or []
        self.found = {}
        self.kept = None  # a socket: while it is open, no other run takes our ports
        if self.container:
            self.found['python3'] = self.contained('Python 3', 'python', [
                'python', '-m', 'ipykernel_launcher', '-f', '{connection_file}'], 'message')
            return
        if self.prefix:
            self.look_into_prefix()
        # Another manager's: it would ask get_kernel_spec() of this one.
        for name, found in KernelSpecManager().get_all_specs().items():
            there = KernelSpec(resource_dir=found['resource_dir'], **found['spec'])
            if not self.prefix or there.language.lower() != 'python':
                self.found.setdefault(name, there)

    def contained(self, display_name, language, argv, interrupt_mode, env=(), resource_dir=''):
        """A kernel in the container. One that can be told to interrupt by a message is, since a
        signal to podman reaches the kernel only where podman passes signals on."""
        *podman, end, image = self.container
        return KernelSpec(display_name=display_name, language=language, resource_dir=resource_dir,
                          interrupt_mode=interrupt_mode,
                          argv=[*podman, *(f'--env={e}' for e in env), end, image, *argv])

    async def ask_image(self):
        """Have what the image's own jupyter names instead of the Python that most images have; it
        costs the start of a container. Without an answer there is that Python, and R. Says in
        words what the kernels are then."""
        process = await asyncio.create_subprocess_exec(
            *self.container, 'jupyter', 'kernelspec', 'list', '--json',
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE)
        try:
            text = await asyncio.wait_for(self.answer(process), ASK_TIMEOUT)
        except asyncio.TimeoutError:
            process.kill()  # the runner removes the container
            raise TimeoutError(f'the image did not say within {ASK_TIMEOUT} s which kernels it '
                               'has') from None
        there = listed(text) if process.returncode == 0 else None
        if there is not None:
            found = {name: self.named(said) for name, said in there.items()}
            self.found = {name: spec for name, spec in found.items() if spec}
            return 'the image has'
        self.found['ir'] = self.contained('R', 'R', [
            'R', '--slave', '-e', 'IRkernel::main()', '--args', '{connection_file}'], 'signal')
        return ('the image does not say which it has ("jupyter kernelspec list" ended in it with '
                f'status {process.returncode}; the log says more), so that it could only be')

    def named(self, said):
        """A kernel that the image names, or None where the words make no sense."""
        try:
            spec = said['spec']
            argv, language, env = spec['argv'], spec['language'], spec.get('env', {})
            # Of the other variables only the image knows what they become.
            env = [f'{k}={v}' for k, v in env.items()
                   if re.fullmatch(r'[A-Za-z_][A-Za-z0-9_]*', k) and '$' not in v]
            if not argv or not isinstance(argv, list) or not all(isinstance(w, str) for w in argv):
                return None
            mode = ('message' if 'ipykernel_launcher' in argv
                    else spec.get('interrupt_mode', 'signal'))
            return self.contained(spec['display_name'], language, argv, mode, env,
                                  said['resource_dir'])
        except (KeyError, TypeError, AttributeError, TraitError):
            return None

    @staticmethod
    async def answer(process):
        text = b''
        while piece := await process.stdout.read(65536):
            if len(text) < ASK_MAX:  # the rest is read, too, so that it ends
                text += piece
        await process.wait()
        return text.decode(errors='replace')

    def look_into_prefix(self):
        python = os.path.join(self.prefix, 'bin', 'python')
        argv = [python, '-m', 'ipykernel_launcher', '-f', '{connection_file}']
        self.found['python3'] = KernelSpec(display_name='Python 3', language='python', argv=argv)
        inner = KernelSpecManager(ensure_native_kernel=False)
        inner.kernel_dirs = [os.path.join(self.prefix, 'share', 'jupyter', 'kernels')]
        for name, found in inner.get_all_specs().items():
            there = KernelSpec(resource_dir=found['resource_dir'], **found['spec'])
            # jupyter_client would put the engine's own interpreter there.
            if there.argv and re.fullmatch(r'python[0-9.]*', os.path.basename(there.argv[0])):
                there.argv = [python, *there.argv[1:]]
            self.found[name] = there
        for there in self.found.values():
            path = os.path.join(self.prefix, 'bin') + ':' + os.environ.get('PATH', '')
            there.env = {**there.env, 'PATH': path, 'VIRTUAL_ENV': self.prefix}

    def arrange(self, manager):
        """Have a jupyter_client manager start kernels from here, and where nobody is in their way.

        jupyter_client takes ports that are free, out of those that the system gives to whoever
        asks for any, lets go of them, and connects. Until the kernel has them, a second or more,
        another kernel may, for one of the sockets that it talks to itself with. Then ours dies;
        or, when the other was gone in time, stays deaf: where once a socket of a wrong kind
        answered, libzmq (4.3.4) never calls again. Unix sockets would be out of everybody's way,
        but hold so little that a kernel that prints fast drops what it says, its end too."""
        manager.kernel_spec_manager = self
        if self.container:  # where the container sees it too
            manager.connection_file = os.path.join(os.environ['JUPYTER_RUNTIME_DIR'],
                                                   'kernel.json')
        ports, self.kept = quiet_ports(len(port_names))
        if ports:
            manager.cache_ports = False  # else it takes its own
            for name, port in zip(port_names, ports):
                setattr(manager, name, port)

    def get_kernel_spec(self, kernel_name):
        try:
            return self.found[kernel_name]
        except KeyError:
            raise NoSuchKernel(kernel_name) from None
