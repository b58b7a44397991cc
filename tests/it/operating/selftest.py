"""What the test of the documents must notice: each of these documents is wrong in one way."""

import os
import tempfile
import unittest

from document import Unclear, read
from session import Wrong, matches, run

PROGRAM = os.path.abspath(os.environ["NBDGATE"])
SERVE = "nbdgate serve --export vm=mem:1M --listen unix:/run/nbdgate/nbd.sock &\n"


def sections(text):
    with tempfile.NamedTemporaryFile("w", suffix=".md") as file:
        file.write("## Title\n" + text)
        file.flush()
        return read(file.name)


def try_out(text):
    for section in sections(text):
        run("document", section, PROGRAM)


def fenced(text, language="sh"):
    return f"```{language}\n{text}```\n"


class Documents(unittest.TestCase):
    def test_a_block_of_no_class_is_an_error(self):
        for text in (fenced("x\n", "toml"), fenced("x\n", ""), fenced("x\n", "text"), "text\n\n    indented\n",
                     fenced("x\n") + "words between\n" + fenced("x\n", "text"), "```sh\nno end\n",
                     "<!-- fails -->\nwords\n" + fenced("x\n"), "<!-- fails -->\n" + fenced("false\n")):
            with self.assertRaises(Unclear, msg=text):
                sections(text)

    def test_lists_may_be_indented(self):
        self.assertEqual(sections("- an item\n    that goes on\n"), [])

    def test_commands_share_a_shell_and_say_what_they_should(self):
        try_out(fenced("x=7\n") + fenced("echo $x; echo $LC_ALL\n") + fenced("7\n...\n", "text"))
        for said in ("8\n", "7 \n8\n", ""):
            with self.assertRaises(Wrong, msg=said):
                try_out(fenced("echo 7\n") + fenced(said, "text"))

    def test_a_command_that_fails_is_told_with_its_line(self):
        with self.assertRaisesRegex(Wrong, "document:5: 'Title' ended with 1"):
            try_out(fenced("true\n") + fenced("false\necho on\n"))
        with self.assertRaises(Wrong):
            try_out(fenced("echo $unset\n"))

    def test_what_must_fail_does(self):
        try_out("<!-- fails -->\n" + fenced("echo why; false\ntrue\n") + fenced("why\n", "text"))
        for commands, said in (("echo why\n", "why\n"), ("echo else; false\n", "why\n")):
            with self.assertRaises(Wrong, msg=commands):
                try_out("<!-- fails -->\n" + fenced(commands) + fenced(said, "text"))

    def test_a_gateway_that_is_gone_or_does_not_start_is_an_error(self):
        try_out(fenced(SERVE + "nbdinfo --size 'nbd+unix:///vm?socket=/run/nbdgate/nbd.sock'\n") + fenced("1048576\n", "text"))
        with self.assertRaisesRegex(Wrong, "does not serve"):
            try_out(fenced("nbdgate serve --export vm=file:/srv/missing &\n"))
        with self.assertRaisesRegex(Wrong, "did not stop cleanly"):
            try_out(fenced(SERVE + "kill -9 $!\n"))

    def test_proofs_and_synopses_are_looked_up(self):
        try_out("<!-- proven by: Makefile help: -->\n" + fenced("world domination\n"))
        try_out("<!-- synopsis -->\n" + fenced("nbdgate disk rm URI [--yes]\nmake test\n"))
        for text in ("<!-- proven by: Makefile no such words -->\n", "<!-- proven by: missing words -->\n"):
            with self.assertRaises(Wrong, msg=text):
                try_out(text + fenced("true\n"))
        proof = "<!-- proven by: tests/vm/machine.py def served_disk( -->\n"
        try_out(proof + fenced("qemu -m 1G -device x,drive=disk \\\n    -blockdev driver=nbd,server.path=/x\n"))
        for command in ("qemu -M pc\n", "qemu --device x\n", "qemu -device bus=x\n", "qemu host=x\n"):
            with self.assertRaisesRegex(Wrong, "proves nothing of", msg=command):
                try_out(proof + fenced(command))
        for line in ("nbdgate disk rm URI [--no]\n", "nbdgate disk fly\n", "make love\n"):
            with self.assertRaises(Wrong, msg=line):
                try_out("<!-- synopsis -->\n" + fenced(line))

    def test_dots_stand_for_anything_within_a_line_or_for_lines(self):
        self.assertTrue(matches("a\n...\nz ... b\n", "a\nx\ny\nz 1 2 b\n"))
        self.assertTrue(matches("....\n", "....\n"))
        self.assertFalse(matches("....\n", "xxxx\n"))
        self.assertFalse(matches("a ... b\n", "a\nb\n"))


if __name__ == "__main__":
    unittest.main()
