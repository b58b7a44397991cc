"""The units: systemd finds nothing wrong in them or in the drop-in examples, they are as hardened as docs/SYSTEMD.md says,
and their times go with the gateway's.

    units.py REPOSITORY NBDGATE
"""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

SYSTEM = pathlib.Path("/usr/lib/systemd/system")
# Tenths of what `systemd-analyze security` prints; docs/SYSTEMD.md tells the number itself.
MOST_EXPOSED = 16
# Whose scores docs/SYSTEMD.md tells; other versions weigh a little differently.
MEASURED_WITH = "252"


def analyze(*words):
    done = subprocess.run(["systemd-analyze", *map(str, words)], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def settings(path):
    pairs = [line.partition("=")[::2] for line in path.read_text().splitlines() if "=" in line and line[0] != "#"]
    return {key: value for key, value in pairs}


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)(s|min)", text).groups()
    return int(number) * {"s": 1, "min": 60}[unit]


def tree(repository, folder):
    """A root that has what units refer to."""
    units = folder / "usr/lib/systemd/system"
    units.mkdir(parents=True)
    for target in SYSTEM.glob("*.target"):
        shutil.copy(target, units / target.name, follow_symlinks=True)
    for unit in [*repository.glob("deploy/systemd/*.service"), *repository.glob("deploy/systemd/*.socket")]:
        shutil.copy(unit, units)
    program = folder / "usr/bin/nbdgate"
    program.parent.mkdir()
    program.touch(mode=0o755)
    return units


def verified(folder, *units):
    code, said = analyze("verify", "--man=no", f"--root={folder}", *units)
    return said.strip() or (f"exit code {code}" if code else "")


def nothing_is_wrong(repository):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        units = tree(repository, folder)
        names = ["nbdgate.service", "nbdgate.socket", "nbdgate@vm1.service", "nbdgate@vm1.socket"]
        assert verified(folder, *names) == "", verified(folder, *names)
        examples = sorted(repository.glob("deploy/systemd/drop-ins/*.conf"))
        assert len(examples) >= 11, examples
        for example in examples:
            unit = "nbdgate@vm1.socket" if "[Socket]" in example.read_text() else "nbdgate@vm1.service"
            place = units / f"{unit}.d" / example.name
            place.parent.mkdir(exist_ok=True)
            shutil.copy(example, place)
            assert verified(folder, unit) == "", f"{example.name}: {verified(folder, unit)}"
            place.unlink()
        # Or a mistake would pass.
        wrong = units / "nbdgate.service"
        wrong.write_text(wrong.read_text().replace("ProtectSystem=strict", "ProtectSytem=strict"))
        assert "ProtectSytem" in verified(folder, "nbdgate.service")


def they_are_as_hardened_as_the_documentation_says(repository):
    page = (repository / "docs/SYSTEMD.md").read_text()
    for unit in ["nbdgate.service", "nbdgate@.service"]:
        path = repository / "deploy/systemd" / unit
        code, said = analyze("security", "--offline=true", "--no-pager", f"--threshold={MOST_EXPOSED}", path)
        assert code == 0, said
        score = re.search(r"Overall exposure level for \S+: ([\d.]+)", said).group(1)
        version = analyze("--version")[1].split()[1]
        if version == MEASURED_WITH:
            assert f"exposure level of **{score}**" in page, f"{unit}: docs/SYSTEMD.md does not tell {score}"


def the_template_is_the_single_gateway_for_one_disk(repository):
    for kind in ["service", "socket"]:
        single = (repository / f"deploy/systemd/nbdgate.{kind}").read_text()
        template = (repository / f"deploy/systemd/nbdgate@.{kind}").read_text()
        for one, other in [
            ("nbdgate/%i\n", "nbdgate\n"),
            ("nbdgate@%i.socket", "nbdgate.socket"),
            ("/%i.", "/nbdgate."),
            (" for %i", ""),
        ]:
            template = template.replace(one, other)
        lines = lambda text: [line for line in text.splitlines() if not line.startswith("#")]
        assert lines(template) == lines(single), kind


def guests_stop_before_it_and_no_other_mount_waits_for_it(repository):
    said = settings(repository / "deploy/systemd/nbdgate.service")
    assert {"libvirtd.service", "libvirt-guests.service"} <= set(said["Before"].split()), said["Before"]
    assert "remote-fs" not in (repository / "deploy/systemd/nbdgate.service").read_text()
    example = settings(repository / "deploy/systemd/drop-ins/mounts-at-boot.conf")
    assert example["Before"] == example["Wants"] == "remote-fs-pre.target", example


def its_directories_are_its_users_alone(repository):
    said = settings(repository / "deploy/systemd/nbdgate.service")
    assert (said["StateDirectoryMode"], said["CacheDirectoryMode"]) == ("0700", "0700"), said


def its_times_go_with_the_gateways(repository):
    source = (repository / "src/config.rs").read_text()
    shutdown = int(re.search(r"DEFAULT_SHUTDOWN_TIMEOUT: Duration = Duration::from_secs\((\d+)\)", source).group(1))
    source = (repository / "src/gateway.rs").read_text()
    closing = int(re.search(r"SNAPSHOTS_CLOSING: Duration = Duration::from_secs\((\d+)\)", source).group(1))
    said = settings(repository / "deploy/systemd/nbdgate.service")
    assert seconds(said["TimeoutStopSec"]) > shutdown + closing, said["TimeoutStopSec"]
    tries = int(said["StartLimitBurst"]) * seconds(said["RestartSec"])
    bound = seconds(said["StartLimitIntervalSec"])
    assert tries < bound, "a disk that fails at once must come to an end of its tries"
    # Each of these starts lives for the watchdog's time at least.
    hanging = tries + int(said["StartLimitBurst"]) * seconds(said["WatchdogSec"])
    assert hanging > bound, "a gateway that hangs must be started again for good"
    assert said["Type"] == "notify" and "--listen systemd" in said["ExecStart"]


def their_commands_are_understood(repository, binary):
    folder = repository / "deploy/systemd"
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
        config.write("[[export]]\nname = 'vm1'\nuri = 'mem:1M'\n")
        config.flush()
        seen = 0
        for path in [*folder.glob("*.service"), *folder.glob("drop-ins/*.conf")]:
            command = settings(path).get("ExecStart")
            if command is None:
                continue
            program, *words = command.split()
            assert program == "/usr/bin/nbdgate", path
            words = [config.name if word.startswith("/") and word.endswith(".toml") else word for word in words]
            done = subprocess.run([binary, *words, "--check"], capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, f"{path.name}: {done.stderr}"
            seen += 1
        assert seen == 3, seen


def an_option_for_one_start_is_added_by_the_command_of_its_drop_in(repository, binary):
    text = (repository / "deploy/systemd/drop-ins/on-unclean.conf").read_text()
    [command] = re.findall(r"^#     (sed .*)$", text, re.MULTILINE)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        places = {"/etc/nbdgate/vm1.toml": folder / "vm1.toml", "/run/nbdgate/nbdgate@vm1.toml": folder / "once.toml"}
        for place, here in places.items():
            assert place in command, command
            command = command.replace(place, str(here))
        before = "[[export]]\nname = 'vm0'\nuri = 'mem:1M'\n\n[[export]]\nname = \"vm1\"\nuri = 's3://bucket/disks/vm1'\n"
        (folder / "vm1.toml").write_text(before)
        subprocess.run(["sh", "-ec", command], check=True, timeout=60)
        once = (folder / "once.toml").read_text()
        assert once == before.replace('"vm1"\n', '"vm1"\non-unclean = "serve"\n'), once
        subprocess.run([binary, "serve", "--config", folder / "once.toml", "--check"], check=True, capture_output=True, timeout=60)


def main():
    repository = pathlib.Path(sys.argv[1])
    their_commands_are_understood(repository, sys.argv[2])
    an_option_for_one_start_is_added_by_the_command_of_its_drop_in(repository, sys.argv[2])
    nothing_is_wrong(repository)
    they_are_as_hardened_as_the_documentation_says(repository)
    the_template_is_the_single_gateway_for_one_disk(repository)
    guests_stop_before_it_and_no_other_mount_waits_for_it(repository)
    its_directories_are_its_users_alone(repository)
    its_times_go_with_the_gateways(repository)


main()
