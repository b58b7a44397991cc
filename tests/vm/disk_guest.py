"""Guests that boot from disks behind a gateway, and go on when it dies, is replaced, or their own power is cut."""

import contextlib
import copy
import re

import filesystem
from content import Slots, lines
from gateway import Gateway, Store
from image import bootable, partition
from machine import Machine, served_disk
from tasks import check_digests, trims_are_seen_as_holes, write_files
from trouble import expect

DISK_BYTES = 256 << 20
JOURNAL_BYTES = 64 << 20
# What a journal may take beyond its size.
JOURNAL_SLACK_BYTES = 1 << 20
FILLER_BYTES = 32 << 20
# How long a guest waits for its gateway to come back, and how often it tries is QEMU's business.
RECONNECT_SECONDS = 60
CRASHES = 2
# What a writer syncs before and after a disturbance: at first also over what it wrote before, then less than all of its files,
# so that some stay as they were before.
SLOTS = 16
SLOT_LINES = 1024
BEFORE = 20
AFTER = 3


class Disks:
    """One gateway, its disks in a bucket with journals on this host, and the guests on them."""

    def __init__(self, world, stack):
        self.world = world
        self.programs = world.programs
        self.folder = world.folder / "disks"
        self.folder.mkdir()
        stack.callback(Store(self.programs).close)
        self.gateway = Gateway(self.programs, self.folder, world.artefacts / "disks-gateway.log")
        stack.callback(self.gateway.close)
        self.stack = stack
        self.exports = []

    @staticmethod
    def uri(name):
        return f"s3://bucket/disks/{name}"

    def journal(self, name):
        return self.folder / f"{name}.journal"

    def export(self, name):
        """From now on the gateway serves it, from its next start. Uploads are late, so that a crash leaves something that only
        the journal has."""
        self.exports.append(f"{name}={self.uri(name)},journal={self.journal(name)},journal-size={JOURNAL_BYTES},upload-delay=10s")

    def serve(self):
        return self.gateway.start(*self.exports)

    def boot(self, name, console):
        machine = Machine(self.world.emulator, self.world.accel, self.world.artefacts / f"{console}.console.log",
                          served_disk(self.gateway, name, RECONNECT_SECONDS))
        self.stack.callback(machine.close)
        machine.wait_until_it_runs()
        expect("the boot loader runs" in machine.text(), "the machine did not boot by the boot loader on the disk")
        return machine


class Writer:
    """guest/writer in a guest, in a folder of its own below /data, and what is known of its files."""

    def __init__(self, machine, folder):
        self.machine = machine
        self.folder = folder
        self.slots = Slots(SLOTS, SLOT_LINES)
        machine.run(f"mkdir /data/{folder} && rm -f /run/stop")
        machine.run(f"writer /data/{folder} {SLOT_LINES} {SLOTS} 0 >/dev/null 2>&1 &")
        self.goes_on(BEFORE)

    def goes_on(self, generations=AFTER):
        """Waits until so many more generations were synced than were known of."""
        self.take()
        self.machine.wait_for(f"synced {self.slots.next + generations - 1}")
        self.take()

    def take(self):
        for told in self.machine.take_told():
            if told.startswith("synced "):
                self.slots.synced(int(told.split()[1]))

    def stop(self):
        """Gives the files that it leaves."""
        self.machine.run("touch /run/stop")
        self.machine.wait_for("stopped")
        self.take()
        return {f"{self.folder}/{name}": content for name, content in self.slots.files().items()}


def test(world):
    with contextlib.ExitStack() as stack:
        disks = Disks(world, stack)
        step = world.step
        with step("make an image that boots, and bring it into a disk in a bucket"):
            files = {"from-outside": lines("from-outside", 4096)}
            bring_in(disks, bootable(world.debian, world.programs, disks.folder, DISK_BYTES, files))
        with step("boot from it"):
            first = disks.boot("vm1", "first")
            structured_replies_are_spoken(disks.gateway)
            check_digests(first, files)
        with step("write and sync, trim"):
            files |= write_files(first, "first")
            trims_are_seen_as_holes(world.programs, disks.gateway, "vm1", first, "/", FILLER_BYTES)
        for crash in range(CRASHES):
            with step("kill the gateway under the running guest, and start it again"):
                files |= survives(disks, first, f"crash-{crash}")
        with step("stop the gateway under it, take a snapshot, clone it, go on"):
            before = dict(files)
            writer = Writer(first, "stop")
            disks.gateway.stop()
            snapshot_slots = take_snapshot_and_clone(disks, writer)
            disks.serve()
            writer.goes_on()
            files |= writer.stop()
            check_digests(first, files)
        with step("boot the clone as a second machine beside the first"):
            second = disks.boot("vm2", "second")
            check_digests(second, before)
            second_files = before | write_files(second, "second")
        with step("cut the power of the second and kill the gateway of both"):
            second_writer = Writer(second, "cut")
            files |= survives(disks, first, "beside", second.cut_power)
            second_writer.take()
            second.check_console()
        with step("boot the second again"):
            second = disks.boot("vm2", "second-again")
            check_digests(second, second_files)
        with step("shut both down"):
            first.power_off()
            second.power_off()
            disks.gateway.stop()
        with step("compare both disks with what the guests were told to write"):
            check_disk(disks, "vm1", files, {})
            check_disk(disks, "vm2", second_files, {"stop": snapshot_slots, "cut": second_writer.slots})


def bring_in(disks, image):
    """Makes the disk of the first guest out of the image, and serves it."""
    packed = image.with_suffix(".qcow2")
    disks.programs.run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", image, packed)
    image.unlink()
    disks.programs.disk("create", disks.uri("vm1"), "--size", DISK_BYTES, "--flush", "journal")
    # The first gateway makes the journal, as large as it is told; who imports without one makes one of the usual 8 GiB.
    disks.export("vm1")
    disks.serve()
    disks.gateway.stop()
    disks.programs.disk("import", packed, disks.uri("vm1"), "--journal", disks.journal("vm1"))
    taken = disks.journal("vm1").stat().st_blocks * 512
    expect(taken <= JOURNAL_BYTES + JOURNAL_SLACK_BYTES, f"the journal of {JOURNAL_BYTES} bytes takes {taken} after the import")
    packed.unlink()
    disks.serve()


def survives(disks, machine, folder, also=None):
    """A crash of the gateway while the guest writes; gives the files, which the guest has read again from the disk."""
    writer = Writer(machine, folder)
    if also:
        also()
    disks.gateway.kill()
    replayed = sum(int(records) for records in re.findall(r"journal replayed .*\brecords=(\d+)", disks.serve()))
    expect(replayed > 0, "the gateway was killed under a writer and had nothing to replay")
    writer.goes_on()
    files = writer.stop()
    check_digests(machine, files)
    return files


def structured_replies_are_spoken(gateway):
    chunks = gateway.metric("nbdgate_export_chunks_total", export="vm1", kind="data")
    expect(chunks > 0, "the guest booted and read nothing by structured replies")


def take_snapshot_and_clone(disks, writer):
    """Gives what the clone must hold of the writer's files: the generations that were synced by now, or newer ones."""
    writer.take()
    slots = copy.copy(writer.slots)
    disks.programs.disk("snapshot", "create", disks.uri("vm1"), "running", "--journal", disks.journal("vm1"))
    disks.programs.disk("clone", disks.uri("vm1"), "running", disks.uri("vm2"))
    disks.export("vm2")
    return slots


def check_disk(disks, name, files, running):
    """The file system is clean and its files are what they must be, byte by byte; `running` are the folders of writers
    that were cut off."""
    image = disks.folder / f"{name}.img"
    disks.programs.disk("export", disks.uri(name), image)
    found = filesystem.files(disks.programs, partition(disks.programs, image, disks.folder), disks.folder, "/data")
    for folder, slots in running.items():
        mine = {path: found.pop(path) for path in list(found) if path.startswith(f"{folder}/")}
        slots.check_after_power_cut({path.removeprefix(f"{folder}/"): content for path, content in mine.items()})
    filesystem.compare(name, found, files)
