#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`nbcid submit` in the hands of people: ^C, bad input, and trouble on the way.

Real: nbcid, kernels (the stand-in's containers run the notebooks). Stand-in: Google
(tests/fakes/google_cloud.py, strict). Run it by google_fake/environment.py.
"""
import json
import os
import pty
import re
import select
import signal
import time

from google_world import BUCKET, PROJECT
from harness import SLOW, wait_for
from harness import main as run_tests
from submit_world import LONG, TESTS, named, running, test


# ---- ^C ----

class Terminal:
    """nbcid on a terminal of its own."""

    def __init__(self, m, *args):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(m.dir)
            os.execve(m.nbcid, m.argv(*args), {**m.env, 'TERM': 'xterm'})
        self.seen = ''

    def read(self, seconds=0.05):
        if select.select([self.fd], [], [], seconds)[0]:
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                data = b''
            self.seen += data.decode('utf-8', 'replace')
            return bool(data)
        return True

    def expect(self, text):
        wait_for(f'{text!r} in {self.seen[-500:]!r}',
                 lambda: self.read() is not None and re.search(text, self.seen))

    def send(self, keys):
        self.seen = ''
        os.write(self.fd, keys)

    def end(self):
        until = time.monotonic() + 60 * SLOW
        while self.read(0.2):
            assert time.monotonic() < until, self.seen
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.fd)
        return status


def asked_to_cancel(m, first=None):
    """A run of train.ipynb on a terminal, at which Ctrl-C was pressed."""
    t = Terminal(m, '--input-notebook', 'train.ipynb')
    if first:
        t.expect(first)
    t.expect('running, ')
    t.send(b'\x03')
    t.expect('Cancel the job')
    return t


@test
def ctrl_c_and_yes_cancels(m, g):
    m.write('train.ipynb', named(*LONG))
    t = asked_to_cancel(m, r'\rjob_train_ipynb_\w+|running, \d:\d\d')
    t.send(b'y\n')
    t.expect('being cancelled|cancelled')
    assert t.end() == 1, t.seen
    assert [j['state'] for j in g.jobs()] == ['JOB_STATE_CANCELLED']
    m.nothing_left()


@test
def ctrl_c_and_no_leaves_it(m, g):
    m.write('train.ipynb', named(*LONG))
    t = asked_to_cancel(m)
    t.send(b'n\n')
    assert t.end() == 3, t.seen
    assert 'gcloud ai custom-jobs cancel' in t.seen, t.seen
    assert [j['state'] for j in g.jobs()] == ['JOB_STATE_RUNNING']
    assert os.listdir(m.tmp) == []


@test
def ctrl_c_and_enter_goes_on(m, g):
    m.write('train.ipynb', named('import time; time.sleep(4)'))
    t = asked_to_cancel(m)
    t.send(b'\n')
    t.expect('running, ')
    assert t.end() == 0, t.seen
    assert 'passed' in t.seen, t.seen
    m.nothing_left()


@test
def ctrl_c_twice_leaves_it(m, g):
    m.write('train.ipynb', named(*LONG))
    t = asked_to_cancel(m)
    t.send(b'\x03')
    assert t.end() == 3, t.seen
    assert [j['state'] for j in g.jobs()] == ['JOB_STATE_RUNNING']


@test
def without_a_terminal_a_signal_cancels(m, g):
    m.write('train.ipynb', named(*LONG))
    for n, (sig, state) in enumerate(((signal.SIGINT, 'CANCELLED'), (signal.SIGTERM, 'CANCELLED'),
                                      (signal.SIGHUP, 'RUNNING')), 1):
        proc = m.start('--input-notebook', 'train.ipynb', '--json')
        running(g)
        proc.send_signal(sig)
        done = m.end(proc)
        assert len(g.jobs()) == n, g.jobs()
        newest = max(g.jobs(), key=lambda j: j['resource']['createTime'])
        assert newest['state'] == f'JOB_STATE_{state}', (sig, g.jobs())
        assert (done.status, done.json['state']) == (
            (1, 'cancelled') if state == 'CANCELLED' else (3, 'submitted')), done


@test
def stopped_before_it_is_submitted(m, g):
    m.write('train.ipynb', named('1'))
    m.write('work/a.txt', 'a')
    for op in ('storage.buckets.get', 'storage.objects.insert.*', 'vertex.customJobs.create'):
        g.control('DELETE', 'faults')
        g.control('DELETE', 'requests')
        g.fault(op, 'none' if 'create' not in op else 'quota', delay=1.5, times=None)
        proc = m.start('--input-notebook', 'train.ipynb', '--input-folder', 'work')
        wait_for(op, lambda: any(f['taken'] for f in g.control('GET', 'faults')))
        proc.send_signal(signal.SIGINT)
        done = m.end(proc)
        assert done.status in (1, 3), (op, done)
        assert g.jobs() == [], (op, done)
        g.control('DELETE', 'faults')
        m.nothing_left()


# ---- bad input ----

@test
def bad_addresses(m, g):
    m.write('train.ipynb', named('1'))
    for option, value, text in (
            ('--input-notebook', 'gs://', 'no name of a bucket'),
            ('--input-notebook', f'gs://{BUCKET}', 'names no object'),
            ('--input-notebook', f'gs://{BUCKET}/a/', 'names no object'),
            ('--input-notebook', f'gs://{BUCKET}/../x.ipynb', r'a part "\.\."'),
            ('--input-notebook', f'gs://{BUCKET}/a//b.ipynb', 'empty part'),
            ('--input-notebook', f'gs://{BUCKET}/a\nb.ipynb', 'control character'),
            ('--input-notebook', f'gs://{BUCKET}/none.ipynb', 'No such object'),
            ('--input-notebook', 'none.ipynb', 'No such file'),
            ('--output-notebook', 'gs://UPPER/x.ipynb', 'no name of a bucket'),
            ('--output-notebook', f'gs://{BUCKET}/a/./b', r'a part "\."'),
            ('--output-notebook', 'gs://nobody-has-this-bucket/x.ipynb', 'bucket'),
            ('--output-notebook', 'none/x.ipynb', 'the directory none cannot be used'),
            ('--output-notebook', '/proc/x.ipynb', 'nothing can be written|cannot be used'),
            ('--output-notebook', 'tmp', 'is no file'),
            ('--output-notebook', './train.ipynb', 'would be lost'),
            ('--output-notebook', 'train.ipynb', 'would be lost'),
            ('--input-folder', 'none', 'no directory'),
            ('--input-folder', 'gs://UPPER/x', 'no name of a bucket'),
            ('--project-id', 'a b', 'is not a name of Google Cloud'),
            ('--project-id', '../x', 'is not a name of Google Cloud'),
            ('--region', 'us_central1', 'is not a name of Google Cloud'),
            ('--bucket-name', 'gs://x', 'leave the gs:// out'),
            ('--bucket-name', '../x', 'is not the name of a bucket'),
            ('--worker-machine-type', 'n1;reboot', 'is not a name of Google Cloud'),
            ('--accelerator-type', 'nvidia t4', 'is not a type of accelerator'),
            ('--service-account', 'me', 'is not a service account'),
            ('--job-id', 'a/b', 'letters, digits'),
            ('--job-id', '', 'letters, digits'),
            ('--executor', 'cloud', 'none of the name'),
            ('--api-url', 'ftp://x', '')):
        args = () if option == '--input-notebook' else ('--input-notebook', 'train.ipynb')
        if option == '--output-notebook' and value == '/proc/x.ipynb' and os.geteuid() == 0:
            continue  # root may write anywhere, it says
        m.refused(text, *args, option, value)
    assert g.asked('vertex.*') == []


@test
def usage(m, g):
    for args, text in (((), '--input-notebook is required'), (('x.ipynb',), 'options only'),
                       (('--scale-tier', 'BASIC'), 'unrecognized option'),
                       (('--max-running-time', 'soon'), 'soon'),
                       (('--max-running-time', '0'), '0'), (('-p', 'x'), '-p NAME VALUE')):
        done = m.submit(*args)
        assert done.status == 2 and text in done.err, (args, done)
    done = m.submit('--help')
    assert done.status == 0 and '--input-notebook' in done.out


@test
def images_with_shell_text(m, g):
    m.write('train.ipynb', named('1'))
    for image in ('a b', 'x;reboot', '$(reboot)', '-x', '', 'a"b', 'x\ny', '`id`'):
        m.refused('--container-uri', '--input-notebook', 'train.ipynb', '--container-uri', image)
        m.write('bad.ipynb', named('1', image=image))
        m.refused('image|container', '--input-notebook', 'bad.ipynb', plain=True)
    assert g.asked('vertex.*') == []


@test
def what_is_no_notebook(m, g):
    m.put('bad.ipynb', '{"cells": [')
    m.write('config2.toml', g.executor() + '[limits]\nmax_notebook = "1KiB"\n')
    for text, said, status in (('no json', 'JSON|json', 1), ('{}', 'nbformat', 1),
                               (named('1 +'), 'syntax', 1), (named('def f(:\n 1'), 'syntax', 1)):
        m.write('bad.ipynb', text)
        m.refused(said, '--input-notebook', 'bad.ipynb', status=status)
    m.refused('', '--input-notebook', f'gs://{BUCKET}/bad.ipynb', status=1)
    m.config = m.path('config2.toml')
    m.write('big.ipynb', named('#' * 2000))
    m.refused('1024', '--input-notebook', 'big.ipynb')
    m.put('big.ipynb', named('#' * 2000))
    m.refused('1024 are allowed', '--input-notebook', f'gs://{BUCKET}/big.ipynb')
    assert g.asked('vertex.*') == []
    m.config = m.path('config.toml')
    m.write('old.ipynb', named('print "x"'))
    m.refused('--no-check', '--input-notebook', 'old.ipynb', status=1)
    m.fine('--input-notebook', 'old.ipynb', '--no-check', '--no-wait')


@test
def parameters_that_do_not_fit(m, g):
    m.write('train.ipynb', named('1'))
    m.refused('class', '--input-notebook', 'train.ipynb', '-p', 'class', '1')
    m.refused('a-b', '--input-notebook', 'train.ipynb', '-p', 'a-b', '1')


@test
def keys_that_are_no_keys(m, g):
    m.write('train.ipynb', named('1'))
    key = json.loads(open(f'{g.dir}/service-account.json', encoding='utf-8').read())
    for text, said in (('', 'empty'), ('hello', 'not the JSON of a key'),
                       ('{}', 'has no "type"'), ('{"installed": {}}', 'OAuth client'),
                       (key['private_key'], 'it is PEM'),
                       (json.dumps({**key, 'private_key': 'x'}), 'private_key')):
        m.env['GOOGLE_APPLICATION_CREDENTIALS'] = m.write('key.json', text)
        m.refused(said, '--input-notebook', 'train.ipynb', plain=True)
    m.env['GOOGLE_APPLICATION_CREDENTIALS'] = m.path('nowhere.json')
    m.refused('nowhere.json', '--input-notebook', 'train.ipynb', plain=True)


@test
def not_ones_own_project_or_bucket(m, g):
    m.write('train.ipynb', named('1'))
    m.refused('other-project-notebook-training', '--input-notebook', 'train.ipynb', '--project-id',
              'other-project', plain=True)
    m.refused('no-such-project', '--input-notebook', 'train.ipynb', '--project-id',
              'no-such-project', plain=True)
    g.control('POST', 'buckets', {'name': 'theirs', 'project': 'other-project'})
    m.refused('belongs to another project', '--input-notebook', 'train.ipynb', '--bucket-name',
              'theirs')
    m.env['GOOGLE_APPLICATION_CREDENTIALS'] = f'{g.dir}/weak.json'
    m.refused('', '--input-notebook', 'train.ipynb', plain=True)


@test
def a_bucket_that_one_may_not_see_but_use(m, g):
    g.control('POST', 'grants', {'deny': [['*', PROJECT, 'storage.buckets.*']]})
    m.write('train.ipynb', named('1'))
    m.fine('--input-notebook', 'train.ipynb', '--bucket-name', BUCKET)
    m.nothing_left()


@test
def a_project_without_jobs(m, g):
    g.control('POST', 'grants', {'deny': [['*', PROJECT, 'aiplatform.*']]})
    m.write('train.ipynb', named('1'))
    done = m.submit('--input-notebook', 'train.ipynb', '--json')
    assert done.status == 3 and 'aiplatform.customJobs.create' in done.err, done
    assert done.json['class'] == 'permission', done
    m.nothing_left()


@test
def folders_that_cannot_be_sent(m, g):
    m.write('train.ipynb', named('1'))
    m.write('work/a.txt', 'a')
    os.mkfifo(m.path('work/pipe'))
    m.refused('neither a file nor a directory', '--input-notebook', 'train.ipynb',
              '--input-folder', 'work')
    os.unlink(m.path('work/pipe'))
    m.write('work/a\nb', 'x')
    m.refused('control character', '--input-notebook', 'train.ipynb', '--input-folder', 'work')
    os.unlink(m.path('work/a\nb'))
    g.fault('storage.objects.insert.multipart', 'status', status=403)
    m.refused('', '--input-notebook', 'train.ipynb', '--input-folder', 'work')


# ---- trouble ----

@test
def a_lost_answer_submits_nothing_twice(m, g):
    m.write('train.ipynb', named('print(1)'))
    for n, (fault, creates) in enumerate((({'kind': 'reset', 'when': 'after'}, 1),
                                          ({'kind': 'status', 'status': 503, 'when': 'after'}, 1),
                                          ({'kind': 'reset', 'when': 'before'}, 2)), 1):
        g.control('DELETE', 'requests')
        g.fault('vertex.customJobs.create', **fault)
        m.fine('--input-notebook', 'train.ipynb')
        assert len(g.jobs()) == n, (fault, g.jobs())
        assert len(g.asked('vertex.customJobs.create')) == creates, fault
    m.nothing_left()


@test
def no_room_is_waited_for_and_said(m, g):
    g.fault('vertex.customJobs.create', 'quota')
    m.write('train.ipynb', named('1'))
    done = m.fine('--input-notebook', 'train.ipynb')
    assert 'quota metrics exceed' in done.err, done
    assert len(g.jobs()) == 1


@test
def a_job_that_is_deleted_behind_our_back(m, g):
    m.write('train.ipynb', named(*LONG))
    proc = m.start('--input-notebook', 'train.ipynb', '--json')
    running(g)
    g.control('POST', f'jobs/{g.jobs()[0]["id"]}', {'action': 'delete'})
    done = m.end(proc)
    assert done.status == 3 and done.json['class'] == 'lost', done
    assert 'deleted by somebody else' in done.err, done
    assert not os.path.exists(m.path('train_output.ipynb'))


@test
def an_output_that_another_writer_replaced(m, g):
    m.write('train.ipynb', named('1'))
    g.rule(replace_output='{"cells": [')
    done = m.submit('--input-notebook', 'train.ipynb', '--json')
    assert done.status == 3 and 'broken' in done.json['reason'], done
    m.nothing_left()


@test
def an_old_output_is_not_taken_for_the_new_one(m, g):
    m.put('train.ipynb', named('1'))
    m.put('train_output.ipynb', named('2'))
    g.rule(no_output=True)
    done = m.submit('--input-notebook', f'gs://{BUCKET}/train.ipynb', '--wait', '--json')
    assert done.status == 3 and 'older' in done.json['reason'], done


@test
def a_job_that_takes_too_long(m, g):
    m.write('train.ipynb', named(*LONG))
    done = m.submit('--input-notebook', 'train.ipynb', '--max-running-time', '2', '--json')
    assert done.status == 1 and done.json['state'] == 'timed_out', done
    m.nothing_left()


@test
def the_disk_is_read_only_at_the_end(m, g):
    """The notebook stays where it is, and is said to be there."""
    m.write('train.ipynb', named('import time; time.sleep(2); print(6 * 7)'))
    os.mkdir(m.path('out'))
    proc = m.start('--input-notebook', 'train.ipynb', '--output-notebook', 'out/x.ipynb')
    running(g)
    os.rmdir(m.path('out'))
    done = m.end(proc)
    assert done.status == 3, done
    where = re.search(rf'it is at gs://{BUCKET}/(\S+output.ipynb)', done.err)
    assert where and where[1] in m.objects(), done


run_tests(TESTS)
