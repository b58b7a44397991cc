"""Runs a program under the system call filters that systemd would make of a unit, but deadly: what systemd would refuse
ends the process.

    confined.py UNIT PROGRAM [ARGUMENT]...
"""

import os
import socket
import subprocess
import sys

import seccomp

PROT_WRITE, PROT_EXEC = 2, 4
# CLONE_NEW*: cgroup, IPC, network, mount, process id, user, host name, time.
NAMESPACES = [0x02000000, 0x08000000, 0x40000000, 0x00020000, 0x20000000, 0x10000000, 0x04000000, 0x00000080]
# Above every address family that there is.
FAMILIES_END = 64
EPERM, ENOSYS, EAFNOSUPPORT = 1, 38, 97
# cachestat(2) of Linux 6.5, which the set of systemd 252 lacks: the gateway asks, and does without where it is refused.
CACHESTAT = 451


def settings(unit):
    """Of each setting all its values, in their order."""
    found = {}
    with open(unit, encoding="utf-8") as lines:
        for line in lines:
            key, equals, value = line.strip().partition("=")
            if equals and not key.startswith("#"):
                found.setdefault(key, []).append(value)
    return found


def expanded(names):
    """The system calls of names and @sets."""
    calls = set()
    for name in names:
        if name.startswith("@"):
            shown = subprocess.run(
                ["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True
            )
            inside = [line.split("#")[0].strip() for line in shown.stdout.splitlines()[1:]]
            calls |= expanded(line for line in inside if line)
        else:
            calls.add(name)
    return calls


def allowed_calls(values):
    """What the lines of SystemCallFilter= leave: the first is a list of what is allowed."""
    calls = set()
    for value in values:
        if value.startswith("~"):
            calls -= expanded(value[1:].split())
        else:
            calls |= expanded(value.split())
    return calls


def call_filter(calls):
    """SystemCallFilter=; the calls that are always allowed are in systemd's own set."""
    only = seccomp.SyscallFilter(seccomp.KILL_PROCESS)
    for name in sorted(calls | expanded(["@default"])):
        # Names of other architectures have no number here.
        if seccomp.resolve_syscall(seccomp.Arch(), name) >= 0:
            only.add_rule(seccomp.ALLOW, name)
    if "cachestat" not in calls:
        only.add_rule(seccomp.ERRNO(EPERM), CACHESTAT)
    return only


def memory_filter():
    """MemoryDenyWriteExecute=yes."""
    memory = seccomp.SyscallFilter(seccomp.ALLOW)
    both = PROT_WRITE | PROT_EXEC
    memory.add_rule(seccomp.KILL_PROCESS, "mmap", seccomp.Arg(2, seccomp.MASKED_EQ, both, both))
    for call in ["mprotect", "pkey_mprotect"]:
        memory.add_rule(seccomp.KILL_PROCESS, call, seccomp.Arg(2, seccomp.MASKED_EQ, PROT_EXEC, PROT_EXEC))
    return memory


def family_filter(names):
    """RestrictAddressFamilies=, with systemd's error: the C library asks for AF_NETLINK and does without."""
    families = seccomp.SyscallFilter(seccomp.ALLOW)
    allowed = {int(getattr(socket, name)) for name in names}
    refuse = seccomp.ERRNO(EAFNOSUPPORT)
    for family in set(range(FAMILIES_END)) - allowed:
        families.add_rule(refuse, "socket", seccomp.Arg(0, seccomp.EQ, family))
    families.add_rule(refuse, "socket", seccomp.Arg(0, seccomp.GE, FAMILIES_END))
    return families


def namespace_filter():
    """RestrictNamespaces=yes; systemd hides clone3, whose flags no filter sees, and the C library takes clone."""
    namespaces = seccomp.SyscallFilter(seccomp.ALLOW)
    namespaces.add_rule(seccomp.ERRNO(ENOSYS), "clone3")
    for flag in NAMESPACES:
        for call in ["clone", "unshare"]:
            namespaces.add_rule(seccomp.KILL_PROCESS, call, seccomp.Arg(0, seccomp.MASKED_EQ, flag, flag))
    namespaces.add_rule(seccomp.KILL_PROCESS, "setns")
    return namespaces


def main():
    unit, *command = sys.argv[1:]
    said = settings(unit)
    for setting in ["MemoryDenyWriteExecute", "RestrictNamespaces", "NoNewPrivileges"]:
        assert said[setting] == ["yes"], setting
    calls = allowed_calls(said["SystemCallFilter"])
    filters = [memory_filter(), family_filter(said["RestrictAddressFamilies"][0].split()), namespace_filter()]
    # Last, for it does not allow to load another.
    for one in [*filters, call_filter(calls)]:
        one.load()
    os.execv(command[0], command)


main()
