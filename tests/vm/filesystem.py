"""The file system of a guest, looked at from outside after the guest is gone."""

from trouble import expect


def files(programs, image, folder, below):
    """The files below a path of this ext4 image, which must be clean; their paths from there and their bytes."""
    programs.run("e2fsck", "-f", "-n", image)
    place = folder / f"{image.name}.files"
    place.mkdir()
    programs.run("debugfs", "-R", f"rdump {below} {place}", image)
    base = place / below.strip("/")
    return {str(path.relative_to(base)): path.read_bytes() for path in base.rglob("*") if path.is_file()}


def compare(name, found, expected):
    """Exactly these files, byte by byte."""
    expect(sorted(found) == sorted(expected), f"{name} has the files {sorted(found)} and not {sorted(expected)}")
    wrong = [path for path, content in expected.items() if found[path] != content]
    expect(not wrong, f"{wrong} on {name} are not what the guest wrote")
