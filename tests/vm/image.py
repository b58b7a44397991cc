"""A disk that a PC boots from: boot sector, boot loader, and an ext4 with a kernel and a small system; made without root."""

import shutil
from pathlib import Path

from archive import Archive, modules, needed_libraries
from trouble import expect

SECTOR = 512
# Where the partition begins; the boot loader lies before it.
PARTITION_OFFSET = 1 << 20
LINUX_PARTITION = 0x83
GUEST = Path(__file__).parent / "guest"
DISK_MODULES = ["virtio_pci", "virtio_blk"]
NETWORK_MODULES = ["virtio_pci", "virtio_net", "nbd"]
# What a kernel says of itself when the emulator does not get a processor for a while is not what is tested.
COMMAND_LINE = "console=ttyS0 panic=-1 net.ifnames=0 rcupdate.rcu_cpu_stall_suppress=1 nosoftlockup"
GRUB_MODULES = ["biosdisk", "part_msdos", "ext2", "linux", "serial", "terminal", "normal", "echo", "test"]
GRUB_SCRIPT = f"""\
serial --unit=0 --speed=115200
terminal_output serial
set root=(hd0,msdos1)
echo the boot loader runs
linux /boot/vmlinuz root=/dev/vda1 {COMMAND_LINE}
initrd /boot/initrd
boot
"""


def initial_system(debian, names):
    """The first system of a guest: busybox, a script, and the kernel modules it needs."""
    archive = Archive()
    archive.console()
    for folder in ("bin", "sbin", "proc", "sys", "dev", "root", "run", "modules", "data"):
        archive.folder(folder)
    busybox = debian.file("bin/busybox", "usr/bin/busybox").read_bytes()
    archive.file("bin/busybox", busybox, executable=True)
    archive.file("init", (GUEST / "init").read_bytes(), executable=True)
    for name in ("agent", "put", "writer"):
        archive.file(f"sbin/{name}", (GUEST / name).read_bytes(), executable=True)
    order = modules(debian.modules(), names)
    for module in order:
        archive.file(f"modules/{module.name}", module.read_bytes())
    archive.file("modules/order", "".join(f"{module.name}\n" for module in order).encode())
    return archive


def network_system(debian):
    """An initial system that stays: with nbd-client and the tools for ext4, and the libraries of both."""
    archive = initial_system(debian, NETWORK_MODULES)
    libraries = {}
    for names in (("usr/sbin/nbd-client", "sbin/nbd-client"), ("sbin/mke2fs", "usr/sbin/mke2fs"),
                  ("sbin/e2fsck", "usr/sbin/e2fsck")):
        program = debian.file(*names)
        # Not where busybox puts its own programs of the same names.
        archive.file(f"opt/{program.name}", program.read_bytes(), executable=True)
        libraries |= needed_libraries(program, debian.libraries())
    for name, place in sorted(libraries.items()):
        archive.file(f"lib/x86_64-linux-gnu/{name}", place.read_bytes(), executable=True)
    archive.file("lib64/ld-linux-x86-64.so.2", debian.loader().read_bytes(), executable=True)
    archive.file("etc/mke2fs.conf", debian.file("etc/mke2fs.conf").read_bytes())
    return archive.bytes()


def bootable(debian, programs, folder, size, files):
    """Makes the image of such a size, with these files below /data; gives its path."""
    tree = folder / "tree"
    for name in ("bin", "sbin", "boot", "proc", "sys", "dev", "run", "root", "data"):
        (tree / name).mkdir(parents=True)
    shutil.copy(debian.file("bin/busybox", "usr/bin/busybox"), tree / "bin/busybox")
    for name in ("agent", "put", "writer"):
        shutil.copy(GUEST / name, tree / "sbin" / name)
    shutil.copy(debian.kernel(), tree / "boot/vmlinuz")
    (tree / "boot/initrd").write_bytes(initial_system(debian, DISK_MODULES).bytes())
    for name, content in files.items():
        (tree / "data" / name).write_bytes(content)
    image = folder / "boots.img"
    with image.open("wb") as file:
        file.truncate(size)
    # Trims need not reach what was never written, so nothing is left for the guest's kernel to zero later.
    programs.run("mkfs.ext4", "-q", "-F", "-d", tree, "-E", f"offset={PARTITION_OFFSET},root_owner=0:0,lazy_itable_init=0",
                 image, f"{(size - PARTITION_OFFSET) >> 10}k")
    shutil.rmtree(tree)
    write_boot_loader(debian, programs, folder, image, size)
    return image


def write_boot_loader(debian, programs, folder, image, size):
    """GRUB's boot sector with a table of one partition, and its core right behind, where the boot sector looks for it."""
    script = folder / "grub.cfg"
    script.write_text(GRUB_SCRIPT)
    core = folder / "core.img"
    maker = debian.file("usr/bin/grub-mkimage")
    programs.run(*debian.command(maker), "-O", "i386-pc", "-d", debian.grub(), "-p", "(hd0,msdos1)/boot/grub", "-c", script,
                 "-o", core, *GRUB_MODULES)
    boot = bytearray((debian.grub() / "boot.img").read_bytes())
    active, any_cylinder = 0x80, b"\xfe\xff\xff"
    entry = bytes([active]) + any_cylinder + bytes([LINUX_PARTITION]) + any_cylinder
    entry += (PARTITION_OFFSET // SECTOR).to_bytes(4, "little")
    entry += ((size - PARTITION_OFFSET) // SECTOR).to_bytes(4, "little")
    boot[446:510] = entry + bytes(48)
    boot[510:512] = b"\x55\xaa"
    with image.open("r+b") as file:
        file.write(boot)
        file.write(core.read_bytes())
        expect(file.tell() <= PARTITION_OFFSET, f"a boot loader of {file.tell()} bytes does not fit before the partition")


def partition(programs, image, folder):
    """Copies the file system out of an image, holes kept."""
    part = folder / f"{image.name}.part"
    programs.run("dd", f"if={image}", f"of={part}", f"bs={PARTITION_OFFSET}", "skip=1", "conv=sparse", "status=none")
    return part
