"""Schemas of the custom resources in deploy/kubernetes, written by hand: of the fields that are used there, and no others.

So a typo is found; whether a field means what we think is for the projects' references to say: the API of the Prometheus
operator (monitoring.coreos.com/v1) and of KubeVirt (kubevirt.io/v1).
"""

TEXT = {"type": "string", "minLength": 1}
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
DURATION = {"type": "string", "pattern": "^([0-9]+(ms|s|m|h|d))+$"}
QUANTITY = {"type": "string", "pattern": "^[0-9]+(Mi|Gi|Ti)$"}


def record(required, **fields):
    """An object of these fields and no others."""
    return {"type": "object", "properties": fields, "required": required, "additionalProperties": False}


def listed(item):
    return {"type": "array", "items": item, "minItems": 1}


def resource(api_version, kind, spec):
    metadata = record(["name"], name=TEXT, namespace=TEXT, labels=TEXTS, annotations=TEXTS)
    return {(api_version, kind): record(["apiVersion", "kind", "metadata", "spec"], apiVersion={"const": api_version},
                                        kind={"const": kind}, metadata=metadata, spec=spec)}


SERVICE_MONITOR = record(
    ["selector", "endpoints"],
    jobLabel=TEXT,
    selector=record(["matchLabels"], matchLabels=TEXTS),
    endpoints=listed(record(["port"], port=TEXT, path=TEXT, interval=DURATION, scrapeTimeout=DURATION)),
)

RECORDING = record(["record", "expr"], record=TEXT, expr=TEXT, labels=TEXTS)
ALERT = record(["alert", "expr", "labels", "annotations"], alert=TEXT, expr=TEXT, labels=TEXTS, annotations=TEXTS,
               **{"for": DURATION, "keep_firing_for": DURATION})
PROMETHEUS_RULE = record(
    ["groups"],
    groups=listed(record(["name", "rules"], name=TEXT, interval=DURATION, rules=listed({"oneOf": [RECORDING, ALERT]}))),
)

DISK = record(["name", "disk"], name=TEXT, bootOrder={"type": "integer", "minimum": 1}, cache={"const": "none"},
              disk=record(["bus"], bus={"enum": ["virtio", "scsi", "sata"]}))
VOLUME = {"oneOf": [
    record(["name", "persistentVolumeClaim"], name=TEXT, persistentVolumeClaim=record(["claimName"], claimName=TEXT)),
    record(["name", "emptyDisk"], name=TEXT, emptyDisk=record(["capacity"], capacity=QUANTITY)),
]}
DOMAIN = record(
    ["devices", "resources"],
    resources=record(["requests"], requests=record(["memory"], memory=QUANTITY)),
    devices=record(["disks", "interfaces"], disks=listed(DISK),
                   interfaces=listed(record(["name", "masquerade"], name=TEXT, masquerade=record([])))),
)
VIRTUAL_MACHINE = record(
    ["runStrategy", "template"],
    runStrategy={"enum": ["Always", "Halted", "Manual", "RerunOnFailure", "Once"]},
    template=record(
        ["metadata", "spec"],
        metadata=record(["labels"], labels=TEXTS, annotations=TEXTS),
        spec=record(["domain", "networks", "volumes"], domain=DOMAIN, volumes=listed(VOLUME),
                    networks=listed(record(["name", "pod"], name=TEXT, pod=record([])))),
    ),
)

CUSTOM = (resource("monitoring.coreos.com/v1", "ServiceMonitor", SERVICE_MONITOR)
          | resource("monitoring.coreos.com/v1", "PrometheusRule", PROMETHEUS_RULE)
          | resource("kubevirt.io/v1", "VirtualMachine", VIRTUAL_MACHINE))
