"""Starts a command and writes what it took to a file descriptor: DESCRIPTOR COMMAND ARGUMENTS.

A process of its own, because the kernel counts the memory of the process that starts a command as the
command's: a benchmark that has loaded torch would add it to everything that it measures.
"""

import json
import os
import sys
import time

if __name__ == "__main__":
    descriptor, command = int(sys.argv[1]), sys.argv[2:]
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
    _, status, usage = os.wait4(child, 0)
    took = {
        "seconds": time.perf_counter() - started,
        "user": usage.ru_utime,
        "system": usage.ru_stime,
        "faults": usage.ru_minflt,
        "largest": usage.ru_maxrss / 2**10,
        "code": os.waitstatus_to_exitcode(status),
    }
    os.write(descriptor, json.dumps(took).encode())
