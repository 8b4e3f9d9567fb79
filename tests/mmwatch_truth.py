# SPDX-License-Identifier: GPL-2.0
"""The numbers and names in the report of mmwatch are those of the program.

Usage: mmwatch_truth.py MMWATCH [SUITE...]
"""

import json
import os
import re
import signal
import subprocess
import sys
import time

from mmwatch_lib import *

# Functions of the C library, without the memory that Python itself would map.
MEMORY = '''
import ctypes, mmap, os, sys, time
libc = ctypes.CDLL(None)
for function in libc.mmap, libc.mremap:
    function.restype = ctypes.c_void_p
long, pointer = ctypes.c_long, ctypes.c_void_p
def map_at(address, size, file=-1, flags=0):
    flags |= 0x8001 if file != -1 else 0x8022
    return libc.mmap(pointer(address), long(size), 3, flags, file, long(0))
def discard(address, size):
    if libc.madvise(pointer(address), long(size), 4): os._exit(99)
def unmap(address, size):
    if libc.munmap(pointer(address), long(size)): os._exit(99)
def file(name, size):
    file = os.open("/tmp/mmwatch/" + name, os.O_RDWR | os.O_CREAT)
    os.ftruncate(file, size)
    return file
'''


def run(options, program):
    """The report on a program, as JSON."""
    code, said = mmwatch('--json', *options, '--', 'python3', '-S', '-c', MEMORY + program)
    if code:
        raise ValueError(f'exit code {code}: {said}')
    return json.loads(said)


def text(options, program):
    return mmwatch('--summary', *options, '--', 'python3', '-S', '-c', MEMORY + program)[1]


def of(report, reason):
    """The number of events and pages of a cause."""
    count = report['reasons'].get(reason, {'events': 0, 'pages': 0})
    return count['events'], count['pages']


GROWS = '''
grows = file("grows", 40 << 16)
memory = map_at(None, 1 << 16, grows)
for size in range(2, 21):
    # Elsewhere in the address space, so that it can grow in its place.
    time.sleep(0.12)
    if libc.mremap(pointer(memory), long(size - 1 << 16), long(size << 16), 0) != memory:
        os._exit(98)
time.sleep(0.3)
for _ in range(100):
    map_at(memory, 20 << 16, grows, 0x10)
    discard(memory, 20 << 16)
os._exit(0)
'''


def grows():
    program = GROWS.replace('map_at(None, 1 << 16, grows)',
                            'map_at(map_at(None, 60 << 16), 1 << 16, grows, 0x10)')
    # The room after the mapping is free.
    program = program.replace('for size', 'unmap(memory + (1 << 16), 59 << 16)\nfor size', 1)
    report = run(['--map', 'grows'], program)
    check('a mapping that has grown twenty times is counted once',
          of(report, 'madvise') == (100, 32000), report['reasons'], report['not_followed'])


def overlapping():
    program = '''
memory = map_at(0x500000000000, 1 << 20, -1, 0x10)
for _ in range(50):
    discard(memory, 1 << 20)
os._exit(0)'''
    ranges = ['500000000000-500000080000', '500000040000-500000100000', '500000000000-500000100000']
    options = [it for range_ in ranges for it in ('--range', range_)]
    report = run(options, program)
    check('ranges that overlap are counted once', of(report, 'madvise') == (50, 50 * 256),
          report['reasons'], report['not_followed'])
    report = run(['--range', ranges[0], '--range', '500000090000-500000100000'], program)
    check('ranges that do not overlap are two', of(report, 'madvise') == (100, 50 * (128 + 112)),
          report['reasons'], report['not_followed'])


def whole():
    report = run([], '''
memory = map_at(None, 1 << 20)
for _ in range(1000):
    discard(memory, 1 << 16)
for _ in range(500):
    unmap(map_at(memory - (1 << 24), 1 << 13, -1, 0x100000), 1 << 13)
os._exit(0)''')
    check('each call is counted', of(report, 'madvise') == (1000, 16000), report['reasons'])
    check('each call is counted, with its pages', of(report, 'munmap')[0] >= 500 and
          of(report, 'munmap')[0] < 550, report['reasons'])
    check('nothing is dropped', all(it['dropped'] == 0 for it in report['spaces']), report['spaces'])


def dropped():
    """Events that mmwatch could not read are counted, also if it is interrupted."""
    program = subprocess.Popen(['python3', '-S', '-c', MEMORY + '''
memory = map_at(None, 1 << 16)
print("ready", flush=True)
sys.stdin.readline()
for _ in range(60000):
    discard(memory, 4096)
print("over", flush=True)
sys.stdin.readline()'''], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    program.stdout.readline()
    process = start('--pid', str(program.pid), '--json', '--record', 'record',
                    stderr=open('report', 'wb'))
    until(lambda: b'"space"' in read('record'))
    # A stopped mmwatch reads no events.
    os.kill(behind(process), signal.SIGSTOP)
    program.stdin.write(b'\n')
    program.stdin.flush()
    program.stdout.readline()
    os.kill(behind(process), signal.SIGCONT)
    process.send_signal(signal.SIGINT)
    code = ends(process)
    report = json.loads(read('report'))
    space = report['spaces'][0]
    seen = sum(it['events'] for it in report['kinds'].values())
    check('events that were dropped are counted after an interruption', code == 0 and
          space['count'] >= 60000 and space['dropped'] > 10000 and
          seen + space['dropped'] == space['count'], code, space, seen)
    program.communicate(b'\n')
    os.remove('record')


def names():
    said = text([], '''
for name in "first", "second", "third":
    memory = map_at(0x500000000000, 1 << 16, file(name, 1 << 16), 0x10)
    time.sleep(0.4)
    for _ in range(20):
        discard(memory, 1 << 16)
    time.sleep(1.2)
os._exit(0)''')
    found = [number(rb'^  0x500000000000-0x500000010000 +(\d+) +\d+  ' + name + rb'$', said)
             for name in (b'first', b'second', b'third')]
    check('a range has the name of the mapping of that time', found == [20, 21, 21] or
          found == [21, 21, 20] or found == [20, 20, 20] or found == [21, 20, 20] or
          sum(found) == 62 and min(found) >= 20, found, said)


def cut_name():
    """The kernel cuts the name of a thread inside a character."""
    report = run([], '''
import threading
libc.prctl(15, "fourteen-byte-日".encode())
threads = [threading.Thread(target=time.sleep, args=(0.2,)) for _ in range(3)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
os._exit(0)''')
    check('a thread with such a name is not a process', len(report['spaces']) == 1 and
          not report['not_followed'], report['spaces'], report['not_followed'])


def compare():
    with open('input', 'w') as file:
        file.write('one\ntwo\n')
    program = ['sh', '-c', 'read line; echo "got $line"; sleep 0.3']
    with open('input') as file:
        ended = subprocess.run([MMWATCH, '--compare', '--summary', '--', *program], stdin=file,
                               capture_output=True)
        rest = os.read(file.fileno(), 100)
    check('each run has the standard input', ended.stdout == b'got one\n' * 3 and rest == b'two\n',
          ended, rest)
    reader, writer = os.pipe()
    os.write(writer, b'one\n')
    os.close(writer)
    code, said = mmwatch('--compare', '--summary', '--', *program, stdin=reader)
    check('an input that can be read only once is refused', code == 125 and
          b'redirect it' in said, code, said)
    seconds = [float(it) for it in re.findall(rb'([0-9.]+) s', ended.stderr)[-2:]]
    check('the times are those of the program', all(0.3 <= it < 3 for it in seconds), ended.stderr)
    code, said = mmwatch('--compare', '--summary', '--', '/nonexistent')
    check('a program that does not exist', code == 127, code, said)


SUITES = {
    'parts': [grows, overlapping],
    'counts': [whole, dropped],
    'reports': [names, cut_name, compare],
}

begin()
for suite in sys.argv[2:] or SUITES:
    for test in SUITES[suite]:
        try:
            test()
        except (OSError, LookupError, ValueError, subprocess.SubprocessError) as error:
            check(test.__name__, False, repr(error))
end()
