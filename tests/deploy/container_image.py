"""What the image holds, as the script of the Dockerfile makes it."""

import re
import stat
import subprocess

import container_tools as tools
from container_root import Root
from container_tools import confined, run


class Image(Root):
    def files(self):
        return list(self.root.rglob("*"))

    def test_its_libraries_are_complete_and_all_come_from_packages_that_it_names(self):
        listed = run("ldd", self.root / "usr/bin/nbdgate")
        libraries = re.findall(r"(/\S+) \(0x", listed)
        self.assertTrue(any("libc.so.6" in library for library in libraries))
        for library in libraries:
            self.assertTrue((self.root / library[1:]).is_file(), library)
        inside = {str(path.relative_to(self.root)) for path in self.files() if ".so" in path.name}
        self.assertEqual(inside, {library[1:] for library in libraries}, "no library more than the program needs")
        named = {path.name for path in (self.root / "var/lib/dpkg/status.d").iterdir()}
        self.assertLessEqual({"libc6", "ca-certificates", "base-files"}, named)
        for name in named:
            self.assertIn("\nVersion: ", (self.root / "var/lib/dpkg/status.d" / name).read_text())
            self.assertTrue((self.root / "usr/share/doc" / name / "copyright").is_file(), name)
        self.assertGreater((self.root / "etc/ssl/certs/ca-certificates.crt").stat().st_size, 100_000)

    def test_there_is_one_program_nothing_gains_rights_and_only_data_is_writable(self):
        programs = []
        for path in self.files():
            mode = path.lstat()
            self.assertFalse(mode.st_mode & (stat.S_ISUID | stat.S_ISGID), path)
            if path == self.root / "data":
                self.assertEqual((mode.st_uid, mode.st_mode & 0o777), (tools.USER_ID, 0o700))
                continue
            self.assertEqual(mode.st_uid, 0, path)
            self.assertFalse(mode.st_mode & 0o022, f"{path} is writable for others")
            if path.is_file() and mode.st_mode & 0o111 and ".so" not in path.name:
                programs.append(str(path.relative_to(self.root)))
        self.assertEqual(programs, ["usr/bin/nbdgate"])

    def test_it_runs_without_a_shell(self):
        version = run(*confined(self.root, "/usr/bin/nbdgate", "--version"))
        self.assertRegex(version, r"^nbdgate \d+\.\d+\.\d+$")
        shell = subprocess.run(confined(self.root, "/bin/sh", "-c", "true"), capture_output=True, text=True, timeout=60)
        self.assertIn("FileNotFoundError", shell.stderr)

    def test_nothing_of_the_root_can_be_written_and_no_way_out_is_open(self):
        for place in ("/image", "/etc/image", "/usr/bin/image"):
            command = confined(self.root, "/usr/bin/nbdgate", "disk", "create", f"file:{place}", "--size", "1M")
            refused = subprocess.run(command, capture_output=True, text=True, timeout=60)
            self.assertEqual(refused.returncode, 1, refused.stderr)
            self.assertIn("Read-only file system", refused.stderr)
