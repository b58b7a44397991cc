"""Which gateway serves a disk. Each policy places what has no gateway and moves nothing else, but where it says so."""

from fleet import loads

# How far above the mean a gateway may be loaded, with bounded loads.
BOUND = 1.10


def rendezvous(fleet, ranks, placed, alive):
    """Each disk on the best-ranked gateway that lives: nobody has to remember anything."""
    return {disk.number: next(gateway for gateway in ranks[disk.number] if gateway in alive) for disk in fleet}


def bounded(fleet, ranks, placed, alive):
    """The best-ranked gateway that has room, up to a bound above the mean (Mirrokni, Thorup, Zadimoghaddam 2016)."""
    room = BOUND * sum(disk.load for disk in fleet) / len(alive)
    kept = [disk for disk in fleet if placed.get(disk.number) in alive]
    now = {disk.number: placed[disk.number] for disk in kept}
    sums = loads(now, kept, alive)
    for disk in fleet:
        if disk.number not in now:
            ranked = (gateway for gateway in ranks[disk.number] if gateway in alive)
            best = next((gateway for gateway in ranked if sums[gateway] + disk.load <= room), None)
            now[disk.number] = min(alive, key=lambda gateway: (sums[gateway], gateway)) if best is None else best
            sums[now[disk.number]] += disk.load
    return now


def least_loaded(fleet, ranks, placed, alive):
    """The gateway with the least load; the largest disks first."""
    kept = [disk for disk in fleet if placed.get(disk.number) in alive]
    now = {disk.number: placed[disk.number] for disk in kept}
    sums = loads(now, kept, alive)
    for disk in sorted((disk for disk in fleet if disk.number not in now), key=lambda disk: (-disk.load, disk.number)):
        now[disk.number] = min(alive, key=lambda gateway: (sums[gateway], gateway))
        sums[now[disk.number]] += disk.load
    return now


def refilled(fleet, ranks, placed, alive, newcomer):
    """Rendezvous with bounds, after a gateway came: the disks that rank it highest move there, while it has room."""
    room = BOUND * sum(disk.load for disk in fleet) / len(alive)
    now, filled = dict(placed), 0
    for disk in fleet:
        best = next(gateway for gateway in ranks[disk.number] if gateway in alive)
        if best == newcomer and filled + disk.load <= room:
            now[disk.number] = newcomer
            filled += disk.load
    return now


def levelled(fleet, ranks, placed, alive, newcomer):
    """Least-loaded, after a gateway came: disks of the fullest move there until it has the mean."""
    now = dict(placed)
    sums = loads(now, fleet, alive)
    mean = sum(sums.values()) / len(alive)
    on = {gateway: [disk for disk in fleet if now[disk.number] == gateway] for gateway in alive}
    while sums[newcomer] < mean:
        fullest = max(alive, key=lambda gateway: (sums[gateway], -gateway))
        disk = on[fullest].pop()
        now[disk.number] = newcomer
        sums[fullest] -= disk.load
        sums[newcomer] += disk.load
    return now


POLICIES = (
    ("rendezvous", rendezvous, lambda *given: rendezvous(*given[:4])),
    ("rendezvous, bounded", bounded, refilled),
    ("least loaded", least_loaded, levelled),
)
