"""Starts a command and writes what it took to a file descriptor: DESCRIPTOR COMMAND ARGUMENTS.

A process of its own, because the kernel counts the memory of the process that starts a command as the
command's: a benchmark that has loaded torch would add it to everything that it measures. On Linux it also
becomes the parent of what the command leaves (multiprocessing's fork server, with all workers that it has
forked), which ends by itself when the command has ended and is counted too.
"""

import ctypes
import json
import os
import resource
import sys
import time

PR_SET_CHILD_SUBREAPER = 36  # of <linux/prctl.h>
PATIENCE = 5.0  # seconds for what the command leaves to end


def adopt() -> None:
    """Become the parent of orphaned descendants, where there is such a thing."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def wait_for_orphans() -> list[resource.struct_rusage]:
    """What each of the adopted processes took, of those that end in time."""
    usages = []
    until = time.perf_counter() + PATIENCE
    while time.perf_counter() < until:
        try:
            process, _, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if process:
            usages.append(usage)
        else:
            time.sleep(0.01)
    return usages


if __name__ == "__main__":
    descriptor, command = int(sys.argv[1]), sys.argv[2:]
    adopt()
    started = time.perf_counter()
    child = os.fork()
    if not child:
        try:
            os.close(descriptor)
            os.execvp(command[0], command)
        except OSError as error:
            print(f"{command[0]}: {error.strerror}", file=sys.stderr, flush=True)
        finally:
            os._exit(127)
    ended = 0
    usages = []
    while ended != child:  # others may be left before it ends
        ended, status, usage = os.wait4(-1, 0)
        usages.append(usage)
    seconds = time.perf_counter() - started
    usages += wait_for_orphans()
    took = {
        "seconds": seconds,
        "user": sum(usage.ru_utime for usage in usages),
        "system": sum(usage.ru_stime for usage in usages),
        "faults": sum(usage.ru_minflt for usage in usages),
        "largest": max(usage.ru_maxrss for usage in usages) / 2**10,
        "code": os.waitstatus_to_exitcode(status),
    }
    os.write(descriptor, json.dumps(took).encode())
