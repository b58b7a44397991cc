#!/usr/bin/env python3
"""Runs a program as an engine runs it in a container: in a root of its own, read-only but for /data, as a user without
capabilities and without the way to new ones, under a seccomp profile. For root; the network is the host's, and so is the
name unless one is given.

    container_confine.py --user 65532 --profile seccomp.json [--data FOLDER] [--hostname NAME] ROOT PROGRAM [ARGUMENT...]
"""

import argparse
import ctypes
import json
import os
import platform
import socket

CLONE_NEWNS, CLONE_NEWUTS = 0x00020000, 0x04000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
PR_SET_NO_NEW_PRIVS = 38
ACTIONS = {"SCMP_ACT_ALLOW": lambda errno: 0x7FFF0000, "SCMP_ACT_ERRNO": lambda errno: 0x00050000 | errno}
COMPARISONS = {"SCMP_CMP_NE": 1, "SCMP_CMP_LT": 2, "SCMP_CMP_LE": 3, "SCMP_CMP_EQ": 4, "SCMP_CMP_GE": 5, "SCMP_CMP_GT": 6,
               "SCMP_CMP_MASKED_EQ": 7}
EPERM = 1
# What libseccomp 2.5 has no name for yet.
NEWER = {"cachestat": 451, "futex_waitv": 449}
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]


class Comparison(ctypes.Structure):
    _fields_ = [("argument", ctypes.c_uint), ("operator", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


def load_libc():
    return ctypes.CDLL(None, use_errno=True)


def check(result, what):
    """Fails if a call of libc did."""
    if result < 0:
        raise OSError(ctypes.get_errno() or -result, f"{what}: {os.strerror(ctypes.get_errno() or -result)}")


def mount(libc, source, target, flags):
    name = [None if path is None else os.fsencode(path) for path in (source, target)]
    check(libc.mount(*name, None, ctypes.c_ulong(flags), None), f"mount {source} on {target}")


def enter(libc, root, data):
    """Makes the root this process's own, with /proc as engines give it."""
    check(libc.unshare(CLONE_NEWNS), "unshare")
    mount(libc, None, "/", MS_REC | MS_PRIVATE)
    mount(libc, root, root, MS_BIND | MS_REC)
    if os.path.isdir(f"{root}/proc"):
        mount(libc, "/proc", f"{root}/proc", MS_BIND | MS_REC)
    mount(libc, None, root, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)
    if data:
        mount(libc, data, f"{root}/data", MS_BIND)
    os.chroot(root)
    os.chdir("/data")


def has_io_uring():
    """Whether the kernel lets this process make a ring."""
    io_uring_setup, parameters = 425, ctypes.create_string_buffer(120)
    ring = load_libc().syscall(io_uring_setup, 1, parameters)
    if ring >= 0:
        os.close(ring)
    return ring >= 0


def applies(rule):
    """Whether a rule is for this machine and a program without capabilities."""
    includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
    is_for_here = ARCHITECTURE in (includes.get("arches") or [ARCHITECTURE])
    return is_for_here and not includes.get("caps") and ARCHITECTURE not in (excludes.get("arches") or [])


def confine(seccomp, profile):
    """Loads the filter that the profile describes."""
    act = lambda action, errno: ACTIONS[action](EPERM if errno is None else errno)
    seccomp.seccomp_init.restype = ctypes.c_void_p
    default = act(profile["defaultAction"], profile.get("defaultErrnoRet"))
    context = ctypes.c_void_p(seccomp.seccomp_init(ctypes.c_uint32(default)))
    for rule in filter(applies, profile["syscalls"]):
        action = act(rule["action"], rule.get("errnoRet"))
        # A rule that says what the default says is none.
        if action == default:
            continue
        arguments = rule.get("args") or []
        compared = (Comparison * len(arguments))(*(
            Comparison(one["index"], COMPARISONS[one["op"]], one["value"], one.get("valueTwo", 0)) for one in arguments))
        for name in rule["names"]:
            number = seccomp.seccomp_syscall_resolve_name(name.encode())
            number = NEWER.get(name, number) if number < 0 else number
            # Of another architecture.
            if number < 0:
                continue
            added = seccomp.seccomp_rule_add_array(context, ctypes.c_uint32(action), number, len(arguments), compared)
            check(added, f"allow {name}")
    check(seccomp.seccomp_load(context), "load the filter")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--user", type=int, required=True)
    parser.add_argument("--profile", required=True)
    parser.add_argument("--data")
    parser.add_argument("--hostname")
    parser.add_argument("root")
    parser.add_argument("program")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    asked = parser.parse_args()
    # Before the root is gone from sight.
    libc, seccomp = load_libc(), ctypes.CDLL("libseccomp.so.2")
    with open(asked.profile) as file:
        profile = json.load(file)
    if asked.hostname:
        check(libc.unshare(CLONE_NEWUTS), "unshare the name")
        socket.sethostname(asked.hostname)
    enter(libc, os.path.realpath(asked.root), asked.data)
    os.setgroups([])
    os.setgid(asked.user)
    os.setuid(asked.user)
    check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    confine(seccomp, profile)
    os.execve(asked.program, [asked.program, *asked.arguments], os.environ)


if __name__ == "__main__":
    main()
