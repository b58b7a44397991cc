"""The simulation of benches/placement, and the tables of docs/SCALE.md that come from it."""

import subprocess
import sys
import unittest

import kubernetes_tools

PLACEMENT = kubernetes_tools.ROOT / "benches" / "placement"
sys.path.insert(0, str(PLACEMENT))

import fleet  # noqa: E402
from costs import LIMITS, costs  # noqa: E402
from policies import BOUND, bounded, least_loaded, levelled, refilled, rendezvous  # noqa: E402
from recovery import Bucket, TooMuch, groups, served_again, spare, steady  # noqa: E402

DISKS, GATEWAYS, SEED = 600, 12, 7


def changed(before, after):
    return {number for number in before if before[number] != after[number]}


class Placement(unittest.TestCase):
    def setUp(self):
        self.disks = fleet.disks(SEED, DISKS)
        self.ranks = fleet.rankings(SEED, self.disks, GATEWAYS + 1)
        self.alive = set(range(GATEWAYS))

    def place(self, policy, placed=None, alive=None):
        return policy(self.disks, self.ranks, placed or {}, alive or self.alive)

    def test_when_gateways_die_only_their_disks_move(self):
        for policy in (rendezvous, bounded, least_loaded):
            placed = self.place(policy)
            now = self.place(policy, placed, self.alive - {0, 5})
            self.assertEqual(changed(placed, now), {number for number, gateway in placed.items() if gateway in (0, 5)})
            self.assertFalse(set(now.values()) & {0, 5})

    def test_a_gateway_that_is_added_takes_disks_from_others_and_nothing_else_moves(self):
        grown = self.alive | {GATEWAYS}
        for policy, after in ((bounded, refilled), (least_loaded, levelled)):
            placed = self.place(policy)
            now = after(self.disks, self.ranks, placed, grown, GATEWAYS)
            self.assertTrue(changed(placed, now))
            self.assertEqual({now[number] for number in changed(placed, now)}, {GATEWAYS})

    def test_the_bound_holds(self):
        loads = fleet.loads(self.place(bounded), self.disks, self.alive)
        self.assertLessEqual(max(loads.values()), BOUND * sum(loads.values()) / GATEWAYS)
        plain = fleet.loads(self.place(rendezvous), self.disks, self.alive)
        self.assertGreater(max(plain.values()), max(loads.values()))

    def test_the_least_loaded_differ_by_one_small_disk_at_most(self):
        loads = fleet.loads(self.place(least_loaded), self.disks, self.alive)
        self.assertLessEqual(max(loads.values()) - min(loads.values()), 1)


class Recovery(unittest.TestCase):
    def setUp(self):
        self.costs = costs()
        self.disks = fleet.disks(SEED, 40)

    def again(self, size, rate):
        processes = groups(self.disks, {disk.number: 0 for disk in self.disks}, size)
        return served_again(processes, [Bucket(rate, rate)], self.costs, SEED, 0.5, 2.0)

    def test_disks_of_a_process_wait_for_each_other(self):
        self.assertEqual([round(seconds, 3) for seconds in self.again(1, 1e9)], [2.5] * 40)
        self.assertEqual([round(seconds, 3) for seconds in self.again(20, 1e9)], [50.0] * 40)

    def test_no_store_is_faster_than_its_limit(self):
        needed = 40 * max(self.costs.open_puts, self.costs.open_gets)
        self.assertAlmostEqual(max(self.again(1, needed / 100)), 100 + 2.0, 3)

    def test_buckets_share_what_disks_ask_and_a_journal_puts_the_same_for_every_flush(self):
        whole, parts = (steady(self.disks, self.costs, SEED, buckets) for buckets in (1, 3))
        self.assertAlmostEqual(whole[0][0], sum(puts for puts, _ in parts))
        self.assertAlmostEqual(whole[0][1], sum(gets for _, gets in parts))
        one, many = ([fleet.Disk(0, flushes)] for flushes in (1, 100))
        self.assertEqual(*(steady(disks, self.costs, SEED, 1, journal=True)[0][0] for disks in (one, many)))
        self.assertNotEqual(*(steady(disks, self.costs, SEED, 1)[0][0] for disks in (one, many)))

    def test_a_disk_that_flushes_more_reads_more_and_proves_one_lease(self):
        [(_, one)], [(_, many)] = (steady([fleet.Disk(0, flushes)], self.costs, SEED, 1) for flushes in (1, 100))
        self.assertAlmostEqual(many - one, 99 * self.costs.busy_reads)
        self.assertGreater(self.costs.busy_leases, 0)

    def test_a_store_that_is_full_opens_nothing(self):
        with self.assertRaises(TooMuch):
            spare(fleet.disks(SEED), self.costs, SEED, 1, LIMITS[1])


class Document(unittest.TestCase):
    def test_scale_md_has_the_tables_of_the_simulation(self):
        checked = subprocess.run([sys.executable, PLACEMENT, "--check"], capture_output=True, text=True, timeout=120)
        self.assertEqual(checked.returncode, 0, checked.stderr)


if __name__ == "__main__":
    unittest.main()
