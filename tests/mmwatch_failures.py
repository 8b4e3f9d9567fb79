# SPDX-License-Identifier: GPL-2.0
"""mmwatch does not harm the watched program if something fails, and still prints its report.

Usage: mmwatch_failures.py MMWATCH [SUITE...]
"""

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
import time

from mmwatch_lib import *

# Unmaps pages until it is ended.
BUSY = ['python3', '-S', '-c', '''
import mmap, sys
print("ready", flush=True)
while True:
    mmap.mmap(-1, 1 << 16).close() # marked program''']
# Waits, and ends with 7 at SIGUSR1.
QUIET = ['sh', '-c', 'trap "exit 7" USR1; echo ready; while :; do sleep 0.1; done # marked program']
NOBODY = 65534


def started(program, **options):
    """Starts a program without mmwatch, and waits for its first line."""
    process = subprocess.Popen(program, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, **options)
    process.stdout.readline()
    return process


def kill(process):
    process.kill()
    process.wait()


def watching(pid):
    """Starts to watch a running process, and waits until it is watched."""
    process = start('--pid', str(pid), '--summary', '--record', 'record',
                    stderr=open('report', 'wb'))
    until(lambda: b'"space"' in read('record'))
    return process


def as_nobody():
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


# A destination that fails.

def full_disk():
    for option in '--record', '--svg':
        code, said = mmwatch(option, '/dev/full', '--summary', '--', 'sh', '-c', 'exit 7')
        check(f'a full disk: {option}', code == 7 and b'No space left' in said and
              re.search(rb'^  all +[1-9]', said, re.M), code, said)
    code, said = mmwatch('--output', '/dev/full', '--record', 'record', '--', 'sh', '-c', 'exit 7')
    check('a full disk: --output', code == 7 and b'No space left' in said, code, said)
    code, said = mmwatch('report', '--output', 'other', 'record')
    check('the recording is whole', code == 0 and b'\n  all ' in read('other') and
          b'Incomplete' not in read('other'), code, said, read('other'))
    code, said = mmwatch('report', 'record', stdout=open('/dev/full', 'wb'))
    check('a full disk: report', code == 125 and b'No space left' in said, code, said)


def closed_pipe():
    for options in ['--summary'], ['--events'], ['--json'], ['--nonsense'], ['--help']:
        reader, writer = os.pipe()
        os.close(reader)
        process = subprocess.Popen([MMWATCH, *options, '--', 'sh', '-c', 'exit 7'],
                                   stdout=writer, stderr=writer, stdin=subprocess.DEVNULL)
        os.close(writer)
        expected = {'--nonsense': 125, '--help': 0}.get(options[0], 7)
        code = ends(process)
        check(f'a closed pipe: {options[0]}', code == expected, code)
    code = subprocess.call([MMWATCH, '--summary', '--', 'sh', '-c', 'exit 7'], close_fds=True,
                           preexec_fn=lambda: [os.close(fd) for fd in range(3)])
    check('no open files', code == 7, code)
    code = subprocess.call([MMWATCH, '--nonexistent'], close_fds=True,
                           preexec_fn=lambda: [os.close(fd) for fd in range(3)])
    check('no open files, and an error', code == 125, code)


def blocked():
    """Output that nobody reads is ended by the first signal."""
    for number in signal.SIGINT, signal.SIGTERM:
        program = started(BUSY)
        reader, writer = os.pipe()
        process = start('--pid', str(program.pid), '--events', stderr=writer)
        os.close(writer)
        # The pipe is full.
        tasks = f'/proc/{behind(process)}/task'
        until(lambda: b'pipe_write' in b''.join(
            read(f'{tasks}/{it}/stack') for it in os.listdir(tasks)), 20)
        process.send_signal(number)
        code = ends(process, 20)
        check(f'blocked output, {number.name}', code == 125 and not tracer(program.pid) and
              state(program.pid) in 'RSD', code, state(program.pid))
        os.close(reader)
        kill(program)


def killed():
    process = start('--record', 'record', '--summary', '--', *BUSY)
    until(lambda: read('record').count(b'"event"') > 100)
    pid = find(b'marked program')
    process.kill()
    process.wait()
    time.sleep(0.3)
    check('mmwatch is killed: the program continues', state(pid) in 'RSD' and not tracer(pid),
          state(pid))
    os.kill(pid, signal.SIGKILL)
    ended = subprocess.run([MMWATCH, 'report', 'record'], capture_output=True)
    check('mmwatch is killed: what was recorded is reported', ended.returncode == 0 and
          b'\n  Incomplete: ' in ended.stdout and number(rb'^  all +(\d+)', ended.stdout) >= 100,
          ended)
    whole = read('record').rstrip(b'\n')
    with open('cut', 'wb') as file:
        file.write(whole[:-20])
    ended = subprocess.run([MMWATCH, 'report', 'cut'], capture_output=True)
    check('a cut recording is reported', ended.returncode == 0 and
          b'\n  Incomplete: ' in ended.stdout, ended)


# Processes that are watched while they run.

def stopped():
    for options in [], ['--untraced']:
        program = started(QUIET)
        program.send_signal(signal.SIGSTOP)
        until(lambda: state(program.pid) == 'T')
        process = start('--pid', str(program.pid), '--summary', *options, '--record', 'record',
                        stderr=subprocess.PIPE)
        until(lambda: b'"space"' in read('record'))
        time.sleep(1)
        during = state(program.pid)
        process.send_signal(signal.SIGINT)
        code = ends(process)
        time.sleep(0.5)
        after = state(program.pid)
        check(f'a stopped process stays stopped {options}', code == 0 and during in 'Tt' and
              after == 'T', code, during, after)
        program.send_signal(signal.SIGCONT)
        program.send_signal(signal.SIGUSR1)
        code = ends(program)
        check(f'it can be continued {options}', code == 7, code)
        os.remove('record')


def stops_later():
    program = started(QUIET)
    process = watching(program.pid)
    program.send_signal(signal.SIGSTOP)
    stops = until(lambda: state(program.pid) in 'Tt')
    time.sleep(0.5)
    stays = state(program.pid)
    program.send_signal(signal.SIGCONT)
    program.send_signal(signal.SIGUSR1)
    codes = ends(program), ends(process)
    check('a watched process is stopped and continued', stops and stays in 'Tt' and
          codes == (7, 0), stops, stays, codes)
    os.remove('record')


def other_signals():
    """A signal that arrives while mmwatch attaches is not lost."""
    program = started(['python3', '-S', '-c', '''
import os, signal, time
signal.signal(signal.SIGRTMIN + 3, lambda *_: os.write(1, b"!"))
print("ready", flush=True)
while True: time.sleep(0.01)'''], bufsize=0)
    sent = got = 0
    over = threading.Event()

    def send():
        nonlocal sent, got
        while not over.is_set() and sent == got:
            os.kill(program.pid, signal.SIGRTMIN + 3)
            sent += 1
            if select.select([program.stdout], [], [], 10)[0]:
                got += len(os.read(program.stdout.fileno(), 1))
    sender = threading.Thread(target=send)
    sender.start()
    process = watching(program.pid)
    process.send_signal(signal.SIGINT)
    code = ends(process)
    over.set()
    sender.join()
    kill(program)
    check('each signal arrives while mmwatch attaches', (code, got) == (0, sent), code, got, sent)
    os.remove('record')


def a_thread():
    program = started(['python3', '-S', '-c', '''
import threading, time
threading.Thread(target=lambda: time.sleep(50)).start()
print("ready", flush=True)
time.sleep(50)'''])
    thread = max(map(int, os.listdir(f'/proc/{program.pid}/task')))
    code, said = mmwatch('--pid', str(thread), '--summary')
    check('a thread is refused, and its process is named', code == 125 and
          f'--pid {program.pid}'.encode() in said, code, said)
    kill(program)


def traced_already():
    program = started(QUIET)
    process = watching(program.pid)
    code, said = mmwatch('--pid', str(program.pid), '--summary')
    check('a process that is traced already', code == 125 and b'cannot be traced' in said, code,
          said)
    process.send_signal(signal.SIGINT)
    check('its watch goes on', ends(process) == 0 and b'\n  all ' in read('report'), read('report'))
    kill(program)
    os.remove('record')


# Processes that cannot be watched, or not as usual.

def processes():
    return {it for it in os.listdir('/proc') if it.isdigit() and (
        b'mmwatch' in read(f'/proc/{it}/cmdline') or b'start-stopped' in read(f'/proc/{it}/cmdline'))}


def seize_fails():
    """A process has one tracer. If mmwatch traces mmwatch, the program of the latter has one."""
    before = processes()
    code, said = mmwatch('--summary', '--output', 'report', '--', MMWATCH, '--summary', '--', 'true')
    check('tracing is not permitted', code == 125 and b'cannot be traced' in said, code, said)
    check('no process is left', processes() == before, before, processes())


def unreadable():
    """The kernel protects the processes of a program that their user may not read."""
    before = processes()
    shutil.copy(MMWATCH, 'unreadable')
    os.chmod('unreadable', 0o711)
    ended = subprocess.run([f'{DIRECTORY}/unreadable', '--summary', '--', 'true'],
                           preexec_fn=as_nobody, capture_output=True, timeout=LIMIT)
    check('mmwatch is not readable', ended.returncode == 125 and b'readable' in ended.stderr, ended)
    check('no process is left behind', processes() == before, before, processes())


def no_device():
    """Without the right to open the device, the program is not run, and no process is left."""
    os.chmod('/dev/mmwatch', 0o600)
    # The error must not be lost, whichever thread is faster.
    ends = [subprocess.run([MMWATCH, '--summary', '--', 'sh', '-c', 'echo it ran'],
                           preexec_fn=as_nobody, capture_output=True, timeout=LIMIT)
            for _ in range(5)]
    check('the device cannot be opened', all(
        it.returncode == 125 and b'/dev/mmwatch' in it.stderr and not it.stdout for it in ends) and
        not find(b'it ran'), *ends)


def setuid():
    """A setuid program that is traced runs without its privileges, which is reported."""
    shutil.copy('/usr/bin/id', 'setuid')
    os.chmod('setuid', 0o4755)
    os.chmod('/dev/mmwatch', 0o666)
    program = [f'{DIRECTORY}/setuid', '-u']
    alone = subprocess.run(program, preexec_fn=as_nobody, capture_output=True)
    check('the program is setuid', alone.stdout == b'0\n', alone)
    for options in [], ['--untraced']:
        ended = subprocess.run([MMWATCH, '--summary', *options, '--', *program],
                               preexec_fn=as_nobody, capture_output=True, timeout=LIMIT)
        check(f'privileges that are lost are reported {options}', ended.returncode == 0 and
              b'without the setuid bit' in ended.stderr, ended)
    ended = subprocess.run([MMWATCH, '--summary', '--', *program], capture_output=True)
    check('root keeps the privileges', ended.stdout == b'0\n' and b'Note' not in ended.stderr, ended)
    os.chmod('/dev/mmwatch', 0o600)


def many_readers():
    """The stack of each reader is freed when its address space ends."""
    script = 'i=0; while [ $i -lt 250 ]; do (:); i=$((i + 1)); done; exit 7'
    ended = subprocess.run(['sh', '-c', 'ulimit -v 300000; exec "$@"', 'sh', MMWATCH, '--summary',
                            '--', 'sh', '-c', script], capture_output=True, timeout=2 * LIMIT)
    found = number(rb'^  (\d+) address spaces', ended.stderr)
    check('250 address spaces in little memory', ended.returncode == 7 and found >= 251 and
          b'Not followed' not in ended.stderr, ended.returncode, ended.stderr)


def many_at_a_time():
    """Processes that cannot be watched are reported, and run all the same."""
    code, said = mmwatch('--json', '--', 'sh', '-c',
                         'for i in $(seq 100); do sleep 5 & done; wait; exit 7')
    report = json.loads(said)
    found = len({it['space']['pid'] for it in report['spaces']}), len(report['not_followed'])
    check('100 processes at a time', code == 7 and found[0] >= 60 and sum(found) >= 100, code, found)


def killed_parents():
    """Children whose parents are killed while they fork are not left behind, stopped."""
    script = '''
import os, signal, time
for _ in range(60):
    child = os.fork()
    if child == 0:
        while True:
            if os.fork() == 0:
                os._exit(0)
    time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
'''
    process = start('--summary', '--', 'python3', '-S', '-c', script, stderr=subprocess.DEVNULL)
    code = ends(process)
    check('parents that are killed while they fork', code == 0, code)


# Names.

NAMES = '''
import ctypes, mmap, os, sys, time
def mapped(name):
    file = os.open(name, os.O_RDWR | os.O_CREAT)
    os.ftruncate(file, 1 << 16)
    return mmap.mmap(file, 1 << 16)
bad = [mapped(name) for name in (b"/tmp/mmwatch/\\xff\\xfe", b"/tmp/mmwatch/\\x1b]0;owned\\a\\x1b[31m")]
ctypes.CDLL(None).prctl(15, b"x\\x1b[2Jy\\xff")
wanted = mapped(b"/tmp/mmwatch/wanted")
wanted.write_byte(1)
time.sleep(0.5)
wanted.close()
for memory in bad:
    memory.close()
os.fork() or os._exit(0)
os.wait()
time.sleep(0.2)'''


def names():
    for options in [], ['--events']:
        code, said = mmwatch(*options, '--', 'python3', '-S', '-c', NAMES)
        check(f'names are printed without control characters {options}', code == 0 and
              b'\x1b' not in said and b'\a' not in said, code, said)
    check('they are shown', b'x\\033[2Jy\\377' in said, said)
    code, said = mmwatch('--map', 'wanted', '--summary', '--', 'python3', '-S', '-c', NAMES)
    check('a name that is not UTF-8 does not hide other mappings', code == 0 and
          number(rb'^  unmap +(\d+)', said) == 1, code, said)
    code, said = mmwatch('--map', b'\xff\xfe', '--summary', '--svg', 'svg', '--', 'python3', '-S',
                         '-c', NAMES)
    check('it can be searched for', code == 0 and number(rb'^  unmap +(\d+)', said) == 1, code, said)
    code, said = mmwatch('--summary', '--', b'printf', b'\xff\x1b')
    check('arguments are printed without control characters', code == 0 and
          b'mmwatch: printf \\377\\033,' in said, code, said)
    code, said = mmwatch('--summary', '--', b'/nonexistent\xff')
    check('a program with such a name', code == 127, code, said)


TRAP = '''
import ctypes, mmap, os, time
# mov $11, %eax; syscall; ret: munmap()
code = bytes.fromhex("b80b0000000f05c3")
with open("/tmp/mmwatch/trap", "wb") as file:
    file.write(code.ljust(4096, b"\\x90"))
file = os.open("/tmp/mmwatch/trap", os.O_RDONLY)
page = mmap.mmap(file, 4096, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC | mmap.PROT_WRITE)
os.unlink("/tmp/mmwatch/trap")
os.mkfifo("/tmp/mmwatch/trap")
munmap = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_void_p, ctypes.c_long)(
    ctypes.addressof(ctypes.c_char.from_buffer(page)))
mmap_ = ctypes.CDLL(None).mmap
mmap_.restype = ctypes.c_void_p
for _ in range(20):
    memory = mmap_(None, ctypes.c_long(4096), 3, 0x8022, -1, ctypes.c_long(0))
    munmap(memory, 4096)
    time.sleep(0.01)
os._exit(3)'''


def pipe_in_place_of_a_file():
    process = start('--stacks', '--summary', '--', 'python3', '-c', TRAP, stderr=open('report', 'wb'))
    code = ends(process)
    check('a pipe with the name of a mapped file is not opened', code == 3 and
          b'(trap)' in read('report'), code, read('report'))


SUITES = {
    'destinations': [full_disk, closed_pipe, blocked, killed],
    'processes': [stopped, stops_later, other_signals, a_thread, traced_already, many_readers,
                  many_at_a_time, killed_parents],
    'permissions': [seize_fails, unreadable, no_device, setuid, names, pipe_in_place_of_a_file],
}

begin()
for suite in sys.argv[2:] or SUITES:
    for test in SUITES[suite]:
        try:
            test()
        except (OSError, LookupError, ValueError, subprocess.SubprocessError) as error:
            check(test.__name__, False, repr(error))
end()
