"""The hook of deploy/kubernetes/attach/kubevirt-hook on a domain as KubeVirt defines it."""

import json
import subprocess
import sys
import unittest
import xml.etree.ElementTree as ET
from pathlib import Path

import kubernetes_tools as tools

HOOK = tools.MANIFESTS / "attach" / "kubevirt-hook" / "on-define-domain.py"
DOMAIN = """
<domain type="kvm" xmlns:qemu="http://libvirt.org/schemas/domain/qemu/1.0">
  <name>machines_vm1</name>
  <memory unit="b">1073741824</memory>
  <os>
    <type arch="x86_64" machine="q35">hvm</type>
  </os>
  <devices>
    <disk type="file" device="disk">
      <source file="/var/run/libvirt/empty-disks/root.qcow2"/>
      <target bus="virtio" dev="vda"/>
      <driver cache="none" error_policy="stop" name="qemu" type="qcow2" discard="unmap"/>
      <alias name="ua-root"/>
      <boot order="1"/>
    </disk>
    <disk type="file" device="disk">
      <source file="/var/run/libvirt/cloud-init-dir/noCloud.iso"/>
      <target bus="virtio" dev="vdb"/>
      <driver name="qemu" type="raw"/>
      <alias name="ua-cloudinit"/>
    </disk>
  </devices>
</domain>
"""


# libvirt's own schema, from Debian's libvirt0.
SCHEMA = Path("/usr/share/libvirt/schemas/domain.rng")


def run(disks, domain=DOMAIN):
    machine = {"metadata": {"annotations": {"nbdgate/disks": json.dumps(disks)} if disks is not None else {}}}
    return subprocess.run([sys.executable, HOOK, "--vmi", json.dumps(machine), "--domain", domain],
                          capture_output=True, text=True, timeout=30)


def same(left, right):
    return ET.canonicalize(left, strip_text=True) == ET.canonicalize(right, strip_text=True)


def valid(domain):
    """Whether libvirt's schema takes the domain."""
    done = subprocess.run(["xmllint", "--noout", "--nonet", "--relaxng", SCHEMA, "-"], input=domain, capture_output=True,
                          text=True, timeout=60)
    if done.returncode not in (0, 3):
        raise AssertionError(f"xmllint could not try the domain: {done.stderr}")
    return done.returncode == 0


class Hook(unittest.TestCase):
    def test_the_named_disk_becomes_an_export(self):
        done = run({"root": "nbd://gateway.svc:10810/vm%201"})
        self.assertEqual(done.returncode, 0, done.stderr)
        root, other = ET.fromstring(done.stdout).findall("devices/disk")
        self.assertEqual(root.get("type"), "network")
        source = root.find("source")
        self.assertEqual(source.attrib, {"protocol": "nbd", "name": "vm 1"})
        self.assertEqual(source.find("host").attrib, {"name": "gateway.svc", "port": "10810"})
        self.assertGreater(int(source.find("reconnect").get("delay")), 60)
        self.assertEqual([driver.get("type") for driver in root.findall("driver")], ["raw"])
        self.assertEqual(root.find("driver").get("cache"), "none")
        self.assertEqual(root.find("target").get("dev"), "vda")
        self.assertEqual(root.find("boot").get("order"), "1")
        self.assertTrue(same(ET.tostring(other, encoding="unicode"),
                             ET.tostring(ET.fromstring(DOMAIN).findall("devices/disk")[1], encoding="unicode")))

    def test_the_schema_of_libvirt_takes_the_domain(self):
        domain = ET.fromstring(run({"root": "nbd://gateway.svc/vm1"}).stdout)
        source = domain.find("devices/disk/source")
        # Debian's libvirt 9.0 does not know it yet.
        source.remove(source.find("reconnect"))
        self.assertTrue(valid(ET.tostring(domain, encoding="unicode")))
        source.find("host").set("prot", "1")
        self.assertFalse(valid(ET.tostring(domain, encoding="unicode")))

    def test_a_machine_without_the_annotation_stays_as_it_is(self):
        done = run(None)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(same(done.stdout, DOMAIN))

    def test_a_disk_that_is_not_there_stops_the_machine(self):
        done = run({"rood": "nbd://gateway/vm1"})
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("rood", done.stderr)

    def test_what_is_no_export_stops_the_machine(self):
        for location in ("http://gateway/vm1", "nbd:///vm1", "nbd://user@gateway/vm1", "nbd://gateway:port/vm1", "gateway"):
            done = run({"root": location})
            self.assertEqual((done.returncode, done.stdout), (1, ""), location)
            self.assertIn("nbdgate hook:", done.stderr)


if __name__ == "__main__":
    unittest.main()
