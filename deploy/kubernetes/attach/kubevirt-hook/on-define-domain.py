#!/usr/bin/env python3
"""KubeVirt's onDefineDomain hook: puts exports of NBD servers in the place of disks of a virtual machine.

    on-define-domain.py --vmi JSON --domain XML          prints the changed domain

The annotation nbdgate/disks of the machine says which: {"name of a disk": "nbd://host:port/export"}. Everything else of
the domain stays as it is. A disk that the annotation names and the domain lacks is an error, so that no machine starts
with an empty disk in the place of its own.
"""

import argparse
import json
import sys
import xml.etree.ElementTree as ET
from urllib.parse import unquote, urlsplit

ANNOTATION = "nbdgate/disks"
PORT = 10809
# How long QEMU keeps requests for a gateway that is away; longer than a restart with a takeover takes.
RECONNECT_SECONDS = 300


class Refused(Exception):
    """The machine must not start like this."""


def disk_of(domain, name):
    """The disk that KubeVirt made of `name`: it is known by its alias."""
    for disk in domain.iterfind("devices/disk"):
        alias = disk.find("alias")
        if alias is not None and alias.get("name") in (name, f"ua-{name}"):
            return disk
    raise Refused(f"the domain has no disk {name!r}, which the annotation {ANNOTATION} names")


def serve_from(disk, location):
    url = urlsplit(location)
    if url.scheme != "nbd" or not url.hostname or url.query or url.username:
        raise Refused(f"{location!r} is not like nbd://host:port/export")
    disk.set("type", "network")
    for old in [child for child in disk if child.tag in ("source", "driver", "backingStore")]:
        disk.remove(old)
    # cache=none: a FLUSH of the guest is one of the export. discard=unmap: a TRIM of the guest frees blocks of the disk.
    disk.insert(0, ET.Element("driver", name="qemu", type="raw", cache="none", discard="unmap", error_policy="stop"))
    source = ET.Element("source", protocol="nbd", name=unquote(url.path.removeprefix("/")))
    ET.SubElement(source, "host", name=url.hostname, port=str(url.port or PORT))
    ET.SubElement(source, "reconnect", delay=str(RECONNECT_SECONDS))
    disk.insert(1, source)


def changed(machine, xml):
    annotations = json.loads(machine).get("metadata", {}).get("annotations", {})
    domain = ET.fromstring(xml)
    for name, location in json.loads(annotations.get(ANNOTATION, "{}")).items():
        serve_from(disk_of(domain, name), location)
    return ET.tostring(domain, encoding="unicode")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--vmi", required=True)
    parser.add_argument("--domain", required=True)
    given, _ = parser.parse_known_args()
    try:
        print(changed(given.vmi, given.domain))
    except (Refused, ValueError, ET.ParseError) as error:
        sys.exit(f"nbdgate hook: {error}")


if __name__ == "__main__":
    main()
