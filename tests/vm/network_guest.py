"""A guest whose own kernel is the client: nbd-client over TCP, several connections, a file system on the whole disk, and a
gateway that is replaced between two attachments and killed during one.

With Debian's nbd-client nothing survives the loss of every connection but what was synced, `-persist` or not: the kernel fails
what is in flight, aloud. The test holds exactly that; guests that must not notice are behind QEMU (disk_guest)."""

import contextlib

import filesystem
from gateway import Gateway
from image import COMMAND_LINE, network_system
from machine import Machine
from tasks import FILE_LINES, check_digests, trims_are_seen_as_holes, write_files
from trouble import expect

DISK_BYTES = 128 << 20
# Emulated networks are slow.
FILLER_BYTES = 8 << 20
CONNECTIONS = 4
# QEMU's user networking: the guest's own address, and the one by which it reaches the host's loopback.
GUEST = "10.0.2.15/24"
HOST = "10.0.2.2"


def test(world):
    with contextlib.ExitStack() as stack:
        step = world.step
        programs = world.programs
        folder = world.folder / "network"
        folder.mkdir()
        uri = f"dir:{folder}/bucket/vm3"
        export = f"vm3={uri},journal={folder}/journal,journal-size=64M"
        gateway = Gateway(programs, folder, world.artefacts / "network-gateway.log")
        stack.callback(gateway.close)
        with step("boot a guest with nbd-client"):
            programs.disk("create", uri, "--size", DISK_BYTES, "--flush", "journal")
            gateway.start(export)
            machine = boot(world, folder, stack)
        with step(f"attach over {CONNECTIONS} connections, make a file system, write, trim"):
            attach(machine, gateway)
            machine.run("/opt/mke2fs -q -t ext4 -E lazy_itable_init=0,lazy_journal_init=0 /dev/nbd0")
            machine.run("mount -t ext4 /dev/nbd0 /data")
            files = write_files(machine, "before")
            trims_are_seen_as_holes(programs, gateway, "vm3", machine, "/data", FILLER_BYTES)
        with step("detach, replace the gateway, attach again"):
            detach(machine)
            gateway.stop()
            machine.check_console()
            gateway.start(export)
            attach(machine, gateway)
            machine.run("mount -t ext4 -o discard /dev/nbd0 /data")
            check_digests(machine, files)
            files |= write_files(machine, "after")
        with step("kill the gateway under the mounted disk"):
            gateway.kill()
            machine.run(f"! put /data/lost lost {FILE_LINES}")
            machine.wait_for_console("I/O error")
            detach(machine)
            machine.trouble_was_expected()
            gateway.start(export)
        with step("attach again, find what was synced, go on"):
            attach(machine, gateway)
            machine.run("mount -t ext4 /dev/nbd0 /data")
            check_digests(machine, files)
            machine.run("rm -f /data/lost")
            files |= write_files(machine, "again")
            detach(machine)
            machine.power_off()
            gateway.stop()
        with step("compare the disk with what the guest was told to write"):
            image = folder / "vm3.img"
            programs.disk("export", uri, image)
            filesystem.compare("vm3", filesystem.files(programs, image, folder, "/"), files)


def boot(world, folder, stack):
    system = folder / "initrd"
    system.write_bytes(network_system(world.debian))
    flags = ["-kernel", str(world.debian.kernel()), "-initrd", str(system), "-append", COMMAND_LINE,
             "-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile="]
    machine = Machine(world.emulator, world.accel, world.artefacts / "network.console.log", flags, processors=2)
    stack.callback(machine.close)
    machine.wait_until_it_runs()
    machine.run(f"ip link set lo up && ip link set eth0 up && ip address add {GUEST} dev eth0")
    return machine


def attach(machine, gateway):
    """The flags are those of docs/OPERATING.md."""
    machine.run(f"/opt/nbd-client -N vm3 -C {CONNECTIONS} {HOST} {gateway.port} /dev/nbd0")
    expect(machine.run("blockdev --getsize64 /dev/nbd0") == str(DISK_BYTES), "/dev/nbd0 is not as large as the disk")
    open_now = gateway.metric("nbdgate_server_connections", listener=f"tcp:127.0.0.1:{gateway.port}")
    expect(open_now == CONNECTIONS, f"{open_now} connections are open and not {CONNECTIONS}")


def detach(machine):
    machine.run("umount /data")
    machine.run("/opt/nbd-client -d /dev/nbd0")
