# SPDX-License-Identifier: Apache-2.0
"""Take one notebook through a kernel with nbclient, for the runner that started us.

Called as: python engine.py SPEC.json, with a pipe for events at descriptor 3. The runner keeps
the clock, the limits and the verdict; this program runs cells, saves the notebook, and says what
it sees. The last event is "engine_end". The end of standard input asks it to interrupt the cell,
save and leave.
"""
import asyncio
import json
import math
import os
import re
import signal
import sys
import time
import traceback

EVENTS_FD = 3
SAVE_EVERY = 1.0  # seconds between saves while cells end; more when saving is slow
START_TIMEOUT = 60
STARTS = 3  # of a kernel that dies before it is ready: another may have taken its port
IOPUB_TIMEOUT = 300
REPLY_TIMEOUT = 10  # a kernel that is idle again has answered, or never will
INTERRUPT_TIMEOUT = 3.0  # how long an interrupted cell may take to end
EXIT_NO_NBCLIENT = 97  # known to the runner
MANAGED = re.compile('^(local|remote)-')  # how Google's managed notebooks name another kernel
ANSI = re.compile(r'\x1b\[[0-9;]*[A-Za-z]')

try:
    import nbformat
    import zmq
    from nbclient import NotebookClient
    from nbclient.exceptions import (CellControlSignal, CellExecutionError, CellTimeoutError,
                                     DeadKernelError)
    sys.dont_write_bytecode = True
    from kernel import Kernels
except ImportError as e:
    print(f'{sys.executable}: {e}', file=sys.stderr)
    sys.exit(EXIT_NO_NBCLIENT)


def emit(event, **fields):
    line = json.dumps({'event': event, **fields}).encode() + b'\n'
    while line:
        line = line[os.write(EVENTS_FD, line):]


def leave():
    """Without the second that the interpreter takes to put its sockets away."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def one_line(text, limit=1000):
    """The first line that says something, of printable characters."""
    lines = [line for line in ANSI.sub('', str(text)).splitlines() if line.strip()]
    line = ' '.join(lines[0].split()) if lines else ''
    return ''.join(c if c.isprintable() else '\ufffd' for c in line[:limit])


def size_of(value):
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode('utf-8', 'replace'))
    if isinstance(value, dict):
        return sum(map(size_of, value.values()))
    if isinstance(value, list):
        return sum(map(size_of, value))
    return 8


def finite(value):
    """The same with null for what JSON cannot say: NaN and the infinities."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [finite(v) for v in value]
    return value


class Engine(NotebookClient):
    """nbclient with three repairs: a dead kernel is seen at once (nbclient looks every second),
    stream output is joined as it comes (a print in a loop would make thousands of outputs), and
    output is bounded."""

    def __init__(self, nb, max_output, **kwargs):
        super().__init__(nb, **kwargs)
        self.max_output = max_output
        self.output_bytes = 0
        self.too_much = False
        self.cell_running = False
        self.no_reply = False
        self.streams = {}  # id(output) -> [output, pieces]

    def kernel_process(self):
        return getattr(getattr(self.km, 'provisioner', None), 'process', None)

    async def _async_poll_kernel_alive(self):
        process = self.kernel_process()
        try:
            fd = os.pidfd_open(process.pid)
        except (AttributeError, OSError):
            await super()._async_poll_kernel_alive()
            return
        gone = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(fd, gone.set)
        try:
            await gone.wait()
            loop.remove_reader(fd)
            # A reply sent just before the end may still be under way.
            await asyncio.sleep(0.1)
            self.task_poll_for_reply.cancel()
        finally:
            loop.remove_reader(fd)
            os.close(fd)

    async def _async_poll_output_msg(self, parent_msg_id, cell, cell_index):
        await super()._async_poll_output_msg(parent_msg_id, cell, cell_index)
        # ipykernel fails to answer when the error's text cannot be sent.
        asyncio.get_running_loop().call_later(REPLY_TIMEOUT, self.give_up, self.task_poll_for_reply)

    def give_up(self, task):
        if not task.done():
            self.no_reply = True
            task.cancel()

    def process_message(self, msg, cell, cell_index):
        if msg['msg_type'] not in ('status', 'execute_input'):
            self.output_bytes += size_of(msg['content']) + sum(
                map(len, msg.get('buffers') or ()))
            if self.max_output and self.output_bytes > self.max_output:
                if not self.too_much:
                    self.too_much = True
                    self.flood = asyncio.ensure_future(self.end_flood())
                return None
        try:
            return super().process_message(msg, cell, cell_index)
        except CellControlSignal:
            raise
        except Exception:  # a stranger's message, such as a widget without state
            traceback.print_exc()
            return None

    async def end_flood(self):
        await self.km.interrupt_kernel()
        await asyncio.sleep(INTERRUPT_TIMEOUT)
        if self.cell_running:
            await self.km.signal_kernel(signal.SIGKILL)

    def output(self, outs, msg, display_id, cell_index):
        content = msg['content']
        hooked = self.output_hook_stack[msg['parent_header'].get('msg_id')]
        if (msg['msg_type'] == 'stream' and outs and not hooked
                and not self.clear_before_next_output):
            last = outs[-1]
            if last.output_type == 'stream' and last.name == content['name']:
                entry = self.streams.setdefault(id(last), [last, [last.text]])
                entry[1].append(content['text'])
                return None
        return super().output(outs, msg, display_id, cell_index)

    def join_streams(self):
        for out, pieces in self.streams.values():
            out.text = ''.join(pieces)
            pieces[:] = [out.text]

    def forget_streams(self):
        self.join_streams()
        self.streams.clear()


class NotANotebook(Exception):
    pass


class Run:
    def __init__(self, spec):
        self.spec = spec
        self.saved_at = 0.0
        self.save_cost = 0.0
        self.stopping = False
        self.started = False  # the kernel
        self.done = 0
        self.client = None
        try:
            with open(spec['notebook'], encoding='utf-8') as f:
                self.nb = nbformat.read(f, as_version=4)
            for cell in self.nb.cells:
                if not isinstance(cell.metadata.get('tags', []), list):
                    del cell.metadata['tags']
                if cell.cell_type == 'code':
                    cell.outputs = []
                    cell.execution_count = None
            self.code = [i for i, cell in enumerate(self.nb.cells) if self.runs(cell)]
        except Exception as e:
            traceback.print_exc()
            raise NotANotebook(one_line(f'{type(e).__name__}: {e}')) from e

    @staticmethod
    def runs(cell):
        return (cell.cell_type == 'code' and cell.source.strip()
                and 'skip-execution' not in cell.metadata.get('tags', []))

    def text(self):
        args = {'ensure_ascii': False, 'indent': 1, 'sort_keys': True}
        try:
            return json.dumps(self.nb, allow_nan=False, **args)
        except ValueError:
            return json.dumps(finite(self.nb), **args)

    def save(self):
        start = time.monotonic()
        if self.client:
            self.client.join_streams()
        path = self.spec['output']
        with open(path + '.new', 'w', encoding='utf-8', errors='replace') as f:
            f.write(self.text() + '\n')
        os.replace(path + '.new', path)
        self.saved_at = time.monotonic()
        self.save_cost = self.saved_at - start

    def save_sometimes(self):
        if time.monotonic() - self.saved_at > max(SAVE_EVERY, 10 * self.save_cost):
            self.save()

    async def autosave(self):
        while True:
            await asyncio.sleep(SAVE_EVERY)
            self.save_sometimes()

    def meta(self, *keys):
        """A text in the notebook's metadata; a stranger's, so of any type."""
        value = self.nb.metadata
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value if isinstance(value, str) else ''

    def choose_kernel(self, specs, what='there is'):
        """The kernelspec asked for, else one of the same language; or (None, why)."""
        language = (self.spec.get('language') or self.meta('kernelspec', 'language')
                    or self.meta('language_info', 'name'))
        wanted = self.spec.get('kernel') or self.meta('kernelspec', 'name')
        if language.lower() in ('ipython', 'python3'):
            language = 'python'
        if not wanted and language.lower() in ('', 'python'):
            wanted = 'python3'
        by_name = {name.lower(): name for name in reversed(specs)}
        for name in (wanted.lower(), MANAGED.sub('', wanted.lower())):
            if name in by_name:
                return by_name[name], None
        wanted = f'there is no kernel "{one_line(wanted, 80)}"' if wanted else \
            'the notebook names no kernel'
        for name in sorted(specs):
            if language and specs[name].language.lower() == language.lower():
                print(f'{wanted}; using "{name}", which is for {one_line(language, 80)}')
                return name, None
        there = ', '.join(sorted(specs)) or 'none at all'
        return None, one_line(
            f'{wanted}, and there is none for '
            f'{one_line(language, 80) or "its language (the notebook names none)"}; '
            f'{what}: {there}')

    async def choose_in_image(self, kernels):
        """The same; the image is asked only by those who want another than its Python."""
        kernel, _ = self.choose_kernel(kernels.found)
        if kernel:
            return kernel, None
        print('the image is asked which kernels it has', flush=True)
        what = await kernels.ask_image()
        return self.choose_kernel(kernels.found, what)

    def on_control(self):
        """The runner wants us to end, or is gone."""
        asyncio.get_running_loop().remove_reader(0)
        self.stopping = True
        self.stopper = asyncio.ensure_future(self.stop())

    async def stop(self):
        try:
            if self.client and self.client.cell_running:
                await self.client.km.interrupt_kernel()
                until = time.monotonic() + INTERRUPT_TIMEOUT
                while time.monotonic() < until:
                    if not self.client.cell_running:
                        return  # run_cells() sees that we are stopping
                    await asyncio.sleep(0.05)
            self.save()
        finally:
            if not self.client or self.client.cell_running or not self.started:
                emit('engine_end', **{'class': 'stopped'})
                leave()

    def kernel_end(self):
        """How a dead kernel ended: fields of engine_end."""
        process = self.client.kernel_process()
        code = None
        if process is not None:
            try:
                code = process.wait(timeout=2)
            except Exception:
                code = None
        if code is not None and code < 0:
            return {'class': 'signal', 'signo': -code}
        status = 'unknown status' if code is None else f'exit status {code}'
        return {'class': 'signal', 'signo': 0,
                'reason': f'the kernel ended by itself before the last cell ({status})'}

    def add_error(self, index, ename, evalue):
        """Show in the notebook what the kernel itself could not say."""
        self.client.forget_streams()
        self.nb.cells[index].outputs.append(nbformat.v4.new_output(
            'error', ename=ename, evalue=evalue, traceback=[f'{ename}: {evalue}']))

    def timed_out(self, index, seconds):
        limit = self.spec.get('cell_timeout') or 0
        if limit and seconds >= limit:
            text = f'cell {index + 1} ran longer than {limit:g} s'
        else:
            text = (f'the kernel did not send all output of cell {index + 1} within '
                    f'{IOPUB_TIMEOUT} s')
        self.add_error(index, 'CellTimeout', text)
        return {'class': 'timeout', 'reason': text}

    async def execute_cell(self, index):
        """None, or the fields of engine_end, as far as they are known."""
        start = time.monotonic()
        self.client.cell_running = True
        try:
            await self.client.async_execute_cell(self.nb.cells[index], index)
        except CellTimeoutError:
            return self.timed_out(index, time.monotonic() - start)
        except DeadKernelError:
            if self.client.no_reply:
                text = 'the kernel did not answer; the log says more'
                self.add_error(index, 'NoReply', text)
                return {'class': 'cell_error', 'ename': 'NoReply', 'evalue': text}
            end = self.kernel_end()
            if not self.client.too_much:
                self.add_error(index, 'DeadKernel', end.get('reason') or 'the kernel was killed')
            return end
        except CellExecutionError as e:
            if e.ename == 'SystemExit' and str(e.evalue) in ('', '0'):
                return {'class': 'passed'}  # papermill's rule: the notebook ends itself, well
            return {'class': 'cell_error', 'ename': one_line(e.ename, 200),
                    'evalue': one_line(e.evalue)}
        finally:
            self.client.cell_running = False
            self.client.forget_streams()
        return None

    async def run_cell(self, index):
        """None, or the fields of engine_end."""
        number = index + 1
        emit('cell_started', cell=number, cells=len(self.code), cells_done=self.done)
        start = time.monotonic()
        end = await self.execute_cell(index)
        if self.stopping:  # our own interrupt, or too late to matter
            return {'class': 'stopped', 'cell': number}
        if self.client.too_much:
            text = f'the notebook wrote more than {self.spec["max_output"]} bytes of output'
            self.add_error(index, 'OutputLimit', text)
            end = {'class': 'cell_error', 'ename': 'OutputLimit', 'evalue': text}
        if end and end['class'] != 'passed':
            return {**end, 'cell': number}
        self.done += 1
        emit('cell_finished', cell=number, seconds=round(time.monotonic() - start, 6),
             cells=len(self.code), cells_done=self.done)
        self.save_sometimes()
        return end

    async def run_cells(self):
        for index in self.code:
            if self.stopping:
                return {'class': 'stopped'}
            process = self.client.kernel_process()
            if process is not None and process.poll() is not None:
                return {**self.kernel_end(), 'cell': index + 1}
            end = await self.run_cell(index)
            if end:
                return end
        return {'class': 'passed'}

    async def run_in_kernel(self):
        saver = asyncio.ensure_future(self.autosave())
        end = await self.run_cells()
        saver.cancel()
        if end['class'] == 'cell_error':
            emit('cell_failed', cell=end['cell'], ename=end['ename'], evalue=end['evalue'])
        try:
            self.client.set_widgets_metadata()
        except Exception:  # a stranger's widget state
            traceback.print_exc()
        self.save()
        # Said before the kernel is shut down, which may take its time.
        emit('engine_end', cells=len(self.code), cells_done=self.done, **end)
        if end['class'] != 'passed':
            leave()  # the runner kills the kernel, and all else

    async def execute(self):
        asyncio.get_running_loop().add_reader(0, self.on_control)
        kernels = Kernels(self.spec)
        try:
            kernel, why = await self.choose_in_image(kernels) if kernels.container else \
                self.choose_kernel(kernels.found)
        except TimeoutError as e:
            return {'class': 'kernel_start', 'reason': one_line(e)}
        if not kernel:
            return {'class': 'no_kernel', 'reason': why}
        for left in reversed(range(STARTS)):
            end, again = await self.execute_in(kernels, kernel)
            if not (again and left) or self.stopping:
                return end
            print('the kernel died before it was ready; it is started again', flush=True)

    async def execute_in(self, kernels, kernel):
        """The fields of engine_end, unless they are told; and whether to try once more."""
        execution = self.nb.metadata.get('execution', {})
        allow = bool(execution.get('allow_errors')) if isinstance(execution, dict) else False
        limit = self.spec.get('cell_timeout') or None
        self.client = Engine(
            self.nb, self.spec.get('max_output') or 0, kernel_name=kernel,
            timeout_func=lambda cell: limit, startup_timeout=START_TIMEOUT,
            iopub_timeout=IOPUB_TIMEOUT, raise_on_iopub_timeout=True, allow_errors=allow)
        km = self.client.create_kernel_manager()
        try:
            kernels.arrange(km)
            km.context.setsockopt(zmq.RCVHWM, 0)  # a flood must not be cut
            async with self.client.async_setup_kernel(cwd=self.spec['cwd']):
                msg = await self.client.async_wait_for_reply(self.client.kc.kernel_info())
                self.nb.metadata['language_info'] = msg['content']['language_info']
                self.started = True
                emit('kernel_ready', kernel=kernel)
                await self.run_in_kernel()
                return None, False
        except Exception as e:
            if self.started:
                raise
            traceback.print_exc()
            end = {'class': 'kernel_start',
                   'reason': f'kernel "{kernel}" did not start: {one_line(e)}'}
            # jupyter_client has no class of its own for "Kernel died before replying"
            return end, isinstance(e, RuntimeError) and 'died' in str(e)


def main():
    run, end = None, None
    try:
        with open(sys.argv[1], encoding='utf-8') as f:
            run = Run(json.load(f))
        run.save()
        end = asyncio.run(run.execute())
    except NotANotebook as e:
        end = {'class': 'check', 'reason': f'not a notebook: {e}'}
    except Exception as e:
        traceback.print_exc()
        end = {'class': 'infrastructure',
               'reason': f'the engine failed: {type(e).__name__}: {one_line(e)}'}
    if end and run:
        run.save()
        end = {**end, 'cells': len(run.code), 'cells_done': run.done}
    if end:
        emit('engine_end', **end)


main()
leave()
