# SPDX-License-Identifier: GPL-2.0
"""Runs programs with and without mmwatch. Their end, output, signals, job control, terminal and
standard input must be the same.

Usage: mmwatch_matrix.py MMWATCH
"""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time

from mmwatch_lib import *

# mmwatch writes its report to a file, so that standard error is that of the program.
WAYS = {
    'alone': [],
    'watched': [MMWATCH, '--summary', '--output', 'report', '--'],
    # The output of the program is shown above the view.
    'live': [MMWATCH, '--live', '--'],
    'untraced': [MMWATCH, '--untraced', '--summary', '--output', 'report', '--'],
}
PYTHON = ['python3', '-S', '-c']

# Runs a handler of each signal, and ends with 7.
HANDLED = '''
import os, signal, sys
for number in map(int, sys.argv[1:]):
    signal.signal(number, lambda *_: print("got", number, flush=True))
    os.kill(os.getpid(), number)
sys.exit(7)'''
# In a process with threads, the C library changes the credentials of each thread by a signal.
THREADS = '''
import os, threading, time
go = threading.Event()
threads = [threading.Thread(target=go.wait) for _ in range(3)]
[thread.start() for thread in threads]
os.setuid(65534)
go.set()
[thread.join() for thread in threads]
print(os.getuid())'''
TIMER = '''
import signal, sys, time
signal.signal(signal.SIGALRM, lambda *_: sys.exit(4))
signal.setitimer(signal.ITIMER_REAL, 0.1)
while True: time.sleep(1)'''
# Counts the signals that it gets until half a second after the first one.
COUNTS = '''
import signal, time
got = []
for number in (1, 2, 3, 10, 15):
    signal.signal(number, lambda number, _: got.append(number))
print("ready", flush=True)
while not got: time.sleep(0.01)
time.sleep(0.5)
print(got)'''
DESCRIPTORS = '''
import os
print([(it, os.readlink(f"/proc/self/fd/{it}").split(":")[0]) for it in range(20)
       if os.path.exists(f"/proc/self/fd/{it}")])'''
TERMINAL = '''
import os, sys
with open("terminal", "w") as file:
    print([(os.isatty(it), os.get_terminal_size(it)) for it in range(3)],
          os.getpgrp() == os.tcgetpgrp(0), sys.stdin.readline(), file=file)
print("written")'''

PROGRAMS = {
    'success': ['true'],
    'exit code 7': ['sh', '-c', 'exit 7'],
    'exit code 255': ['sh', '-c', 'exit 255'],
    'no such program in a shell': ['sh', '-c', '/nonexistent'],
    'output': ['sh', '-c', 'echo out; echo error >&2'],
    'killed by SIGKILL': ['sh', '-c', 'kill -9 $$'],
    'killed by SIGSEGV': ['sh', '-c', 'kill -SEGV $$'],
    'killed by SIGINT': ['sh', '-c', 'kill -INT $$'],
    'killed by the first real-time signal': [*PYTHON, 'import os; os.kill(os.getpid(), 34)'],
    'killed by the last real-time signal': [*PYTHON, 'import os; os.kill(os.getpid(), 64)'],
    'killed by a signal of the C library': [*PYTHON, 'import os; os.kill(os.getpid(), 32)'],
    'signals that are handled': [*PYTHON, HANDLED, '1', '10', '15', '34', '50', '64'],
    'threads and setuid()': [*PYTHON, THREADS],
    'a timer': [*PYTHON, TIMER],
    'a closed pipe': ['sh', '-c', 'yes | head -n 1'],
    'a command line': ['cat', '/proc/self/cmdline', '-'],
    'arguments that are not UTF-8': ['printf', '%s\\n', b'\xff\xfe', ''],
    'environment': ['env'],
    'descriptors': [*PYTHON, DESCRIPTORS],
    'limits and mask': ['sh', '-c', 'umask; ulimit -a; pwd'],
    'standard input': ['sh', '-c', 'read line; echo "<$line>"; wc -c'],
    'many processes': ['sh', '-c', 'for i in 1 2 3 4 5; do (exit $i) & done; wait; ls / | wc -l'],
    'an orphan': ['sh', '-c', '(sleep 0.3; echo later) & exit 3'],
    'exec': ['sh', '-c', 'exec sh -c "exec sh -c \\"exit 9\\""'],
}


def run(way, program, **options):
    """Returns the end, the output and the errors of a program."""
    ended = subprocess.run([*WAYS[way], *program], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           timeout=LIMIT, **{'input': b'one\ntwo\n', **options})
    return ended.returncode, ended.stdout, ended.stderr


def same(name, measure, ways):
    """Checks that a measurement gives the same in all ways."""
    results = {}
    for way in ways:
        try:
            results[way] = measure(way)
        except (OSError, subprocess.SubprocessError) as error:
            results[way] = error
    alone = results['alone']
    check(name, all(it == alone for it in results.values()) and not isinstance(alone, Exception),
          *(f'{way}: {result}' for way, result in results.items()))


def signal_state(way):
    """The blocked and ignored signals of a program."""
    def prepare():
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGRTMIN])
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    return run(way, ['grep', '-E', '^Sig(Blk|Ign)', '/proc/self/status'], preexec_fn=prepare)


def begun(way, program):
    """Starts a program in a process group of its own, and waits for its first line of output."""
    process = subprocess.Popen([*WAYS[way], *program], stdout=subprocess.PIPE,
                               stdin=subprocess.DEVNULL, start_new_session=True)
    process.stdout.readline()
    return process


def finish(process):
    try:
        output = process.communicate(timeout=LIMIT)[0]
    except subprocess.TimeoutExpired:
        output = 'hangs'
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    return process.returncode, output


def counted(number, send):
    """The signals that a program gets if one is sent to the process, or to the process group."""
    def measure(way):
        process = begun(way, [*PYTHON, COUNTS])
        send(process.pid, number)
        return finish(process)
    return measure


def killed_by(number):
    def measure(way):
        process = begun(way, ['sh', '-c', 'echo ready; sleep 50'])
        os.killpg(process.pid, number)
        return finish(process)
    return measure


def program_of(process, way):
    """The process of the program itself."""
    if way == 'alone':
        return process.pid
    return until(lambda: find(b'marked program'))


def stopped(how):
    """Whether a program that is stopped stays so until it is continued, and then goes on."""
    def measure(way):
        process = begun(way, ['sh', '-c', f'echo ready; {how}; exit 5 # marked program'])
        pid = program_of(process, way)
        stops = bool(until(lambda: state(pid) in 'Tt', 10))
        time.sleep(0.5)
        stays = state(pid) in 'Tt'
        os.kill(pid, signal.SIGCONT)
        return stops, stays, finish(process)
    return measure


class Terminal:
    """A session with a terminal, in which a command runs."""

    def __init__(self, command):
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.environ['TERM'] = 'xterm'
            os.environ['PS1'] = 'prompt> '
            os.execvp(command[0], command)
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack('HHHH', 33, 99, 0, 0))
        self.output = b''

    def type(self, text):
        os.write(self.terminal, text)

    def expect(self, text, limit=20):
        """Waits for output, and forgets all output up to there. Returns whether it has come."""
        end = time.monotonic() + limit
        while text not in self.output:
            if not select.select([self.terminal], [], [], max(0, end - time.monotonic()))[0]:
                return False
            try:
                self.output += os.read(self.terminal, 4096)
            except OSError:
                return False
        self.output = self.output.partition(text)[2]
        return True

    def end(self):
        """Waits for the end. Returns the end and the rest of the output."""
        self.expect(b'\0', 20)
        begun = time.monotonic()
        while os.waitpid(self.pid, os.WNOHANG) == (0, 0):
            if time.monotonic() - begun > 20:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                return 'hangs', self.output
            time.sleep(0.05)
        os.close(self.terminal)
        return 'ended', self.output


def terminal(way):
    """What a program finds out about its terminal, and what it reads from it."""
    session = Terminal([*WAYS[way], *PYTHON, TERMINAL])
    time.sleep(0.5)
    session.type(b'typed\n')
    return session.expect(b'written'), session.end()[0], read('terminal')


def keys(way):
    """^C in a terminal interrupts the program once."""
    session = Terminal([*WAYS[way], *PYTHON, COUNTS])
    ready = session.expect(b'ready')
    session.type(b'\x03')
    return ready, session.end()


def interrupted(way):
    """^C in a terminal, with an output that does not depend on the way."""
    session = Terminal([*WAYS[way], *PYTHON, COUNTS])
    ready = session.expect(b'ready')
    session.type(b'\x03')
    return ready, session.expect(b'[2]'), session.end()[0]


def job_control(program, before=b''):
    """^Z, the list of jobs, and fg in a shell with job control. Before it stops, the program prints
    a text."""
    def measure(way):
        session = Terminal(['bash', '--norc', '-i'])
        seen = [session.expect(b'prompt> ')]
        words = [os.fsdecode(it) for it in [*WAYS[way], *PYTHON, program]]
        session.type(' '.join("'" + it.replace("'", "'\\''") + "'" for it in words).encode() + b'\n')
        seen.append(session.expect(b'running\r\n'))
        time.sleep(0.3)
        session.type(b'\x1a')
        seen += [not before or session.expect(before), session.expect(b'Stopped'), session.expect(b'prompt> ')]
        session.type(b'fg >/dev/null\n')
        seen.append(session.expect(b'goes on\r\n'))
        seen.append(session.expect(b'prompt> '))
        session.type(b'echo code $?\n')
        seen.append(session.expect(b'code 6\r\n'))
        session.type(b'exit\n')
        return seen, session.end()[0]
    return measure


# Ends with 6 after it was continued.
STOPPED = '''
import signal, sys, time
signal.signal(signal.SIGCONT, lambda *_: (print("goes on"), sys.exit(6)))
print("running", flush=True)
while True: time.sleep(0.05)'''
# Stops itself, and not the process group.
SUSPENDS = STOPPED.replace('while True', 'import os; os.kill(os.getpid(), signal.SIGSTOP)\nwhile True')
# Does something before it stops itself, as editors do.
STOPS_ITSELF = '''
import os, signal, sys, time
def stop(*_):
    print("leaves the screen", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
signal.signal(signal.SIGTSTP, stop)
signal.signal(signal.SIGCONT, lambda *_: (print("goes on"), sys.exit(6)))
print("running", flush=True)
while True: time.sleep(0.05)'''

TRACED = ['alone', 'watched']
UNTRACED = ['alone', 'watched', 'untraced']
LIVE = ['a terminal', '^C at a live view']
# Programs that are also run with --untraced.
ALSO_UNTRACED = ['exit code 7', 'killed by SIGKILL', 'signals that are handled', 'descriptors',
                 'killed by a signal of the C library', 'standard input', 'exec']
# Without tracing, mmwatch does not see whether the program has received a signal as well.
TRACED_ONLY = ['SIGTERM to the process group', 'SIGINT to the process group']
SUITES = {
    'programs': [(name, lambda way, it=program: run(way, it)) for name, program in PROGRAMS.items()],
    'signals': [
        ('blocked and ignored signals', signal_state),
        ('SIGTERM to the process', counted(15, os.kill)),
        ('SIGINT to the process', counted(2, os.kill)),
        ('SIGHUP to the process', counted(1, os.kill)),
        ('SIGTERM to the process group', counted(15, os.killpg)),
        ('SIGINT to the process group', counted(2, os.killpg)),
        ('killed by SIGTERM', killed_by(15)),
        ('killed by SIGHUP', killed_by(1)),
        ('stopped by SIGSTOP', stopped('kill -STOP $$')),
    ],
    'terminal': [
        ('a terminal', terminal),
        ('^C', keys),
        ('^C at a live view', interrupted),
        ('job control', job_control(STOPPED)),
        ('job control of a program that stops by itself', job_control(SUSPENDS)),
        ('job control of a program that stops itself', job_control(STOPS_ITSELF, b'leaves the screen')),
    ],
}

begin()
for suite in sys.argv[2:] or SUITES:
    for name, measure in SUITES[suite]:
        is_traced = suite == 'programs' and name not in ALSO_UNTRACED or name in TRACED_ONLY
        same(name, measure, WAYS if name in LIVE else TRACED if is_traced else UNTRACED)
end()
