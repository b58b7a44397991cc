"""Runs the blocks of a section in one shell, and compares what they say with what the document says."""

import os
import re
import signal
import subprocess
import tempfile

from world import PRELUDE, World

DEADLINE_SECONDS = 150
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
FLAG = re.compile(r"(?<!\S)--?[A-Za-z][\w-]*")
KEY = re.compile(r"(?<![\w.-])([A-Za-z][\w.-]*)=")
MARK = re.compile("\x01block (\\d+)\x01\n")


class Wrong(Exception):
    """The section does not do what the document says."""


def run(document, section, program):
    """Runs a section in a new world; what it said is in the error, if there is one."""
    for block in section.blocks:
        if block.kind == "proven":
            check_proof(document, block)
        elif block.kind == "synopsis":
            check_synopsis(document, block, program)
    with tempfile.TemporaryDirectory(prefix="doc") as scratch:
        world = World(scratch)
        os.mkdir(os.path.join(scratch, "bin"))
        os.symlink(program, os.path.join(scratch, "bin", "nbdgate"))
        code, said = shell(world, script(world, section))
    parts = MARK.split(world.back(said))
    outputs = {int(number): text for number, text in zip(parts[1::2], parts[2::2])}
    told = "\n".join(f"--- line {section.blocks[at].line}\n{text}" for at, text in outputs.items())
    if code != 0:
        last = section.blocks[max(outputs)].line if outputs else section.blocks[0].line
        raise Wrong(f"{document}:{last}: {section.title!r} ended with {code} in the block of this line\n{parts[0]}{told}")
    for at, block in enumerate(section.blocks):
        if block.expected is not None and not matches(block.expected, outputs[at]):
            raise Wrong(f"{document}:{block.line}: expected\n{block.expected}--- but it said\n{outputs[at]}")


def script(world, section):
    """All blocks of a section, with a mark before the output of each."""
    lines = ["set -euo pipefail", PRELUDE, f"cd {world.work}"]
    for at, block in enumerate(section.blocks):
        if block.kind in ("proven", "synopsis"):
            continue
        text = world.into(block.text)
        lines.append(f"printf '\\x01block {at}\\x01\\n'")
        if block.kind == "file":
            lines.append(f"cat >{world.into(block.argument)} <<'END OF FILE'\n{text}END OF FILE")
        elif block.kind == "fails":
            lines.append(f"set +e; (set -e\n{text}); code=$?; set -e")
            lines.append('[ "$code" != 0 ] || { echo "this was to fail"; exit 1; }')
        else:
            lines.append(world.backgrounds(text, at))
    return "\n".join(lines) + "\n"


def shell(world, text):
    """Runs a script to its end; gives its exit code and what it said."""
    path = os.path.join(world.scratch, "script")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    environment = dict(os.environ, LC_ALL="C", HOME=world.scratch)
    environment["PATH"] = f"{world.scratch}/bin:{environment['PATH']}:/usr/sbin:/sbin"
    environment.pop("NBDGATE_LOG", None)
    with open(os.path.join(world.scratch, "said"), "w+b") as said:
        child = subprocess.Popen(["bash", path], stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=environment,
                                 start_new_session=True)
        try:
            code = child.wait(DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            code = f"no end after {DEADLINE_SECONDS} seconds: {child.wait()}"
        said.seek(0)
        return code, said.read().decode("utf-8", "replace")


def matches(expected, said):
    """Whether the output is as expected, where `...` is anything within a line, or by itself any lines."""
    pattern = ""
    for line in expected.splitlines():
        if line.strip() == "...":
            pattern += r"(?:.*\n)*?"
        else:
            pieces = re.split(r"(?<!\.)\.\.\.(?!\.)", line.rstrip())
            pattern += ".*".join(re.escape(piece) for piece in pieces) + r"[ ]*\n"
    return re.fullmatch(pattern, said) is not None


def check_proof(document, block):
    """The file is there and has the words, every flag (`-x`, `--long`) of the block, and every `key=`."""
    path, words = block.argument.split(" ", 1)
    try:
        with open(os.path.join(ROOT, path), encoding="utf-8") as file:
            proof = file.read()
    except OSError as error:
        raise Wrong(f"{document}:{block.line}: the proof is missing: {error}") from None
    if words not in proof:
        raise Wrong(f"{document}:{block.line}: {path} has no {words!r}")
    for flag in FLAG.findall(block.text):
        if not re.search(rf"(?<![\w-]){re.escape(flag)}(?![\w-])", proof):
            raise Wrong(f"{document}:{block.line}: {path} proves nothing of {flag}")
    for key in KEY.findall(block.text):
        if not re.search(rf"(?<![\w.-]){re.escape(key)}=", proof):
            raise Wrong(f"{document}:{block.line}: {path} proves nothing of {key}=")


def check_synopsis(document, block, program):
    """Every command of a synopsis has a help, and that knows the flags; what is made is a target of the Makefile."""
    for line in block.text.splitlines():
        words = line.split()
        if words[0] == "make":
            with open(os.path.join(ROOT, "Makefile"), encoding="utf-8") as makefile:
                if not re.search(rf"^{words[1]}:", makefile.read(), flags=re.MULTILINE):
                    raise Wrong(f"{document}:{block.line}: nothing to make: {line}")
            continue
        commands = [[]]
        for word in words[1:]:
            if not re.fullmatch(r"[a-z|]+", word):
                break
            commands = [command + [choice] for command in commands for choice in word.split("|")]
        for command in commands:
            asked = subprocess.run([program, *command, "--help"], capture_output=True, text=True, timeout=60, check=False)
            if words[0] != "nbdgate" or asked.returncode != 0:
                raise Wrong(f"{document}:{block.line}: no such command: {line}")
            for flag in re.findall(r"--[a-z-]+", line):
                if len(commands) == 1 and not re.search(rf"{flag}(?![a-z-])", asked.stdout):
                    raise Wrong(f"{document}:{block.line}: {' '.join(command)} has no {flag}")
