# SPDX-License-Identifier: GPL-2.0
"""Helpers of the tests of the mmwatch program: KTAP output, processes and files."""

import atexit
import contextlib
import os
import re
import signal
import subprocess
import sys
import time

MMWATCH = sys.argv[1]
# Devices and setuid programs work in this directory, which is emptied before each suite.
DIRECTORY = '/tmp/mmwatch'
# Longest time of anything that is waited for; longer on the debug kernel, which is slow.
LIMIT = 240 if os.path.exists('/sys/kernel/debug/kmemleak') else 60

count = 0
lines = []
is_over = False


def begin():
    os.makedirs(DIRECTORY, exist_ok=True)
    os.chdir(DIRECTORY)
    atexit.register(report)


def report():
    """Prints the results, after their number. A suite that has ended early has failed."""
    if not is_over:
        check('the suite comes to its end', False)
    print('KTAP version 1', f'1..{count}', *lines, sep='\n', flush=True)


def check(name, passed, *details):
    """Prints the result of a test, with details if it has failed."""
    global count
    count += 1
    lines.append(f'{"ok" if passed else "not ok"} {count} {name}')
    if not passed:
        for detail in details:
            if isinstance(detail, bytes):
                detail = detail.decode(errors='backslashreplace')
            for line in str(detail).splitlines()[-40:]:
                lines.append(f'# {line}')


def end():
    global is_over
    is_over = True


def until(condition, limit=LIMIT):
    """Waits until a condition is met. Returns its value."""
    begun = time.monotonic()
    while not (value := condition()) and time.monotonic() - begun < limit:
        time.sleep(0.02)
    return value


def read(path):
    try:
        with open(path, 'rb') as file:
            return file.read()
    except OSError:
        return b''


def state(pid):
    """The state of a process as in /proc/PID/stat, or '' if there is no such process."""
    return read(f'/proc/{pid}/stat').rpartition(b')')[2].strip()[:1].decode()


def tracer(pid):
    found = re.search(rb'^TracerPid:\s*(\d+)', read(f'/proc/{pid}/status'), re.M)
    return int(found[1]) if found else 0


def children(pid):
    """The children of a process."""
    line = f'\nPPid:\t{pid}\n'.encode()
    return [int(it) for it in os.listdir('/proc')
            if it.isdigit() and line in read(f'/proc/{it}/status')]


def descendants(pid):
    return [it for child in children(pid) for it in [child, *descendants(child)]]


def find(name):
    """The first process whose command line contains a text, other than mmwatch."""
    for pid in filter(str.isdigit, os.listdir('/proc')):
        line = read(f'/proc/{pid}/cmdline')
        if name in line and b'mmwatch' not in line.split(b'\0')[0]:
            return int(pid)
    return None


def mmwatch(*arguments, **options):
    """Runs mmwatch to its end. Returns its code (negative: a signal) and its standard error."""
    options = {'stdin': subprocess.DEVNULL, 'stdout': subprocess.DEVNULL, **options}
    ended = subprocess.run([MMWATCH, *arguments], stderr=subprocess.PIPE, timeout=LIMIT, **options)
    return ended.returncode, ended.stderr


def start(*arguments, **options):
    options = {'stdin': subprocess.DEVNULL, 'stdout': subprocess.DEVNULL, **options}
    return subprocess.Popen([MMWATCH, *arguments], **options)


def behind(process):
    """The process of mmwatch that traces and reports, behind the one that was started."""
    return until(lambda: [it for it in children(process.pid)
                          if read(f'/proc/{it}/cmdline').startswith(b'mmwatch\0--behind\0')])[0]


def ends(process, limit=LIMIT):
    """Waits for the end of a process. Returns its code, or 'hangs' after killing it."""
    try:
        return process.wait(limit)
    except subprocess.TimeoutExpired:
        for pid in descendants(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.kill()
        process.wait()
        return 'hangs'


def number(pattern, text):
    """The number that a pattern finds in a text, or -1."""
    found = re.search(pattern, text, re.M)
    return int(found[1]) if found else -1
