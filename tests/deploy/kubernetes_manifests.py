"""deploy/kubernetes without a cluster: rendered, held against the schemas, and against what it refers to."""

import copy
import itertools
import json
import re
import subprocess
import sys
import tomllib
import unittest
from pathlib import Path

import kubernetes_tools as tools

# Maps whose keys are free: a key that is misspelt there is another key.
FREE = {"labels", "annotations", "matchLabels", "data", "nodeSelector", "selector", "requests", "limits", "capacity"}


def rendered():
    return tools.rendered()[1]


def one(kind, name=None, folder="overlays/example"):
    found = [resource for resource in rendered()[folder]
             if resource["kind"] == kind and name in (None, resource["metadata"]["name"])]
    if len(found) != 1:
        raise AssertionError(f"{folder} has {len(found)} of {kind} {name or ''}")
    return found[0]


def pod(folder="overlays/example"):
    return one("StatefulSet", folder=folder)["spec"]["template"]


def container(folder="overlays/example"):
    [found] = pod(folder)["spec"]["containers"]
    return found


def flag(name):
    [value] = [arg.split("=", 1)[1] for arg in container()["args"] if arg.startswith(f"--{name}=")]
    return value


def keys(value, path=()):
    """Every key of every map whose keys have a meaning, as a path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*path, key)
            # A Service's selector is a map of labels; those elsewhere are checked by the keys inside.
            if key not in FREE or (key == "selector" and isinstance(inner, dict) and "matchLabels" in inner):
                yield from keys(inner, (*path, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from keys(inner, (*path, number))


def misspelt(resource, path):
    changed = copy.deepcopy(resource)
    holder = changed
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1] + "x"] = holder.pop(path[-1])
    return changed


class Schemas(unittest.TestCase):
    def test_every_resource_fits_its_schema_in_the_oldest_and_the_newest_version(self):
        for version, resources in itertools.product(tools.VERSIONS, rendered().values()):
            for resource in resources:
                self.assertEqual(tools.mistakes(resource, version), [], version)

    def test_every_key_of_every_resource_is_found_when_it_is_misspelt(self):
        tried = 0
        for resource in {str(found): found for resources in rendered().values() for found in resources}.values():
            for path in keys(resource):
                if path[-1] in ("kind", "apiVersion"):
                    continue
                tried += 1
                self.assertFalse(tools.fits(misspelt(resource, path)), f"{resource['kind']}: {path}")
        self.assertGreater(tried, 300)

    def test_a_name_that_nothing_has_stops_kustomize(self):
        broken = Path(tools.rendered()[0].name) / "kubernetes" / "overlays" / "broken"
        broken.mkdir()
        (broken / "kustomization.yaml").write_text(tools.OTHER.replace("io-uring", "io-urging"))
        with self.assertRaisesRegex(AssertionError, "io-urging"):
            tools.render(broken)


class Gateways(unittest.TestCase):
    def test_each_pod_has_its_file_of_disks(self):
        found = one("StatefulSet")
        pods = [f"{found['metadata']['name']}-{number}" for number in range(found["spec"]["replicas"])]
        self.assertEqual(sorted(one("ConfigMap", "fra1-nbdgate-disks")["data"]), [f"{name}.toml" for name in pods])
        self.assertEqual(flag("config"), "/etc/nbdgate/$(POD_NAME).toml")

    def test_ports_are_those_of_the_arguments(self):
        ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
        self.assertEqual(ports, {"nbd": int(flag("listen").rpartition(":")[2]),
                                 "metrics": int(flag("metrics").rpartition(":")[2])})
        for service, name in (("fra1-nbdgate", "nbd"), ("fra1-nbdgate-metrics", "metrics")):
            [port] = one("Service", service)["spec"]["ports"]
            self.assertEqual((port["targetPort"], port["port"]), (name, ports[name]))
        [endpoint] = one("ServiceMonitor")["spec"]["endpoints"]
        self.assertEqual((endpoint["port"], endpoint["path"]), ("metrics", "/metrics"))
        for rule in one("NetworkPolicy")["spec"]["ingress"]:
            self.assertTrue(all(port["port"] in ports for port in rule["ports"]))

    def test_everything_selects_the_pods(self):
        labels = pod()["metadata"]["labels"]
        spread = pod()["spec"]["topologySpreadConstraints"]
        selectors = [one("StatefulSet")["spec"]["selector"], one("PodDisruptionBudget")["spec"]["selector"],
                     one("NetworkPolicy")["spec"]["podSelector"], *(rule["labelSelector"] for rule in spread)]
        selectors = [selector["matchLabels"] for selector in selectors]
        selectors += [one("Service", name)["spec"]["selector"] for name in ("fra1-nbdgate", "fra1-nbdgate-metrics")]
        for selector in selectors:
            self.assertLessEqual(selector.items(), labels.items())
        wanted = one("ServiceMonitor")["spec"]["selector"]["matchLabels"]
        self.assertLessEqual(wanted.items(), one("Service", "fra1-nbdgate-metrics")["metadata"]["labels"].items())
        self.assertFalse(wanted.items() <= one("Service", "fra1-nbdgate")["metadata"]["labels"].items())

    def test_there_is_time_for_a_clean_stop(self):
        # 10s: how long snapshots' clients are waited for after that, SNAPSHOTS_CLOSING in src/gateway.rs.
        needed = int(flag("shutdown-timeout").removesuffix("s")) + 10
        self.assertGreater(pod()["spec"]["terminationGracePeriodSeconds"], needed)

    def test_memory_holds_the_budgets(self):
        gibibytes = {"G": 1.0, "M": 1 / 1024}
        budgets = sum(float(flag(name)[:-1]) * gibibytes[flag(name)[-1]] for name in ("object-memory", "max-memory"))
        self.assertGreaterEqual(float(container()["resources"]["limits"]["memory"].removesuffix("Gi")), budgets + 0.5)

    def test_the_cache_fits_its_volume(self):
        [volume] = [volume for volume in pod()["spec"]["volumes"] if volume["name"] == "cache"]
        claim = volume["ephemeral"]["volumeClaimTemplate"]["spec"]
        self.assertGreater(int(claim["resources"]["requests"]["storage"].removesuffix("Gi")),
                           int(flag("cache-size").removesuffix("G")))
        mounts = {mount["name"]: mount["mountPath"] for mount in container()["volumeMounts"]}
        self.assertTrue(flag("cache").startswith(mounts["cache"] + "/"))

    def test_only_the_journal_outlives_a_pod_and_ties_it_to_nodes(self):
        [claim] = one("StatefulSet")["spec"]["volumeClaimTemplates"]
        self.assertEqual(claim["metadata"]["name"], "journal")
        for rule in pod()["spec"]["topologySpreadConstraints"]:
            self.assertEqual((rule["whenUnsatisfiable"], rule["nodeTaintsPolicy"]), ("ScheduleAnyway", "Honor"))

    def test_a_crash_of_one_gateway_waits_for_nobody(self):
        for disks in one("ConfigMap", "fra1-nbdgate-disks")["data"].values():
            exports = tomllib.loads(disks)["export"]
            self.assertTrue(all("journal" in export for export in exports), "others would stay down with it")

    def test_opening_is_not_cut_short_and_the_gateway_is_ready_when_it_serves(self):
        paths = {probe: container()[f"{probe}Probe"]["httpGet"]["path"] for probe in ("startup", "liveness", "readiness")}
        self.assertEqual(paths, {"startup": "/livez", "liveness": "/livez", "readiness": "/healthz"})

    def test_the_namespace_may_refuse_whatever_is_not_restricted(self):
        enforced = one("Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
        self.assertEqual(enforced, "restricted")
        job = one("Job", folder="recipes/create-disk")["spec"]["template"]
        for template in (pod("overlays/example"), pod("overlays/other"), job):
            whole = template["spec"]
            [inner] = [found["securityContext"] for found in whole["containers"]]
            self.assertFalse({"hostNetwork", "hostPID", "hostIPC"} & whole.keys())
            self.assertTrue(whole["securityContext"]["runAsNonRoot"])
            self.assertIn(whole["securityContext"]["seccompProfile"]["type"], ("RuntimeDefault", "Localhost"))
            self.assertEqual(inner["capabilities"], {"drop": ["ALL"]})
            self.assertIs(inner["allowPrivilegeEscalation"], False)
            self.assertIs(inner["readOnlyRootFilesystem"], True)
            self.assertTrue(all({"configMap", "secret", "ephemeral"} & volume.keys() for volume in whole["volumes"]))

    def test_the_seccomp_profile_is_the_only_change_of_its_component(self):
        profile = pod("overlays/other")["spec"]["securityContext"].pop("seccompProfile")
        self.assertEqual(profile, {"type": "Localhost", "localhostProfile": "nbdgate/seccomp-io-uring.json"})
        default = pod("base")["spec"]["securityContext"].pop("seccompProfile")
        self.assertEqual(default, {"type": "RuntimeDefault"})
        self.assertEqual(pod("overlays/other"), pod("base"))

    def test_keys_are_a_file_from_the_secret(self):
        [variable] = [one for one in container()["env"] if one["name"] == "AWS_SHARED_CREDENTIALS_FILE"]
        [volume] = [one for one in pod()["spec"]["volumes"] if "secret" in one]
        [mount] = [one for one in container()["volumeMounts"] if one["name"] == volume["name"]]
        secret = one("Secret", volume["secret"]["secretName"])
        self.assertIn(variable["value"], [f"{mount['mountPath']}/{key}" for key in secret["data"]])

    def test_git_ignores_the_keys(self):
        ignored = subprocess.run(["git", "check-ignore", "-q", "deploy/kubernetes/overlays/example/credentials"],
                                 cwd=tools.ROOT, timeout=30)
        self.assertEqual(ignored.returncode, 0)

    def test_the_rules_are_those_of_deploy_prometheus(self):
        made = subprocess.run([sys.executable, tools.MANIFESTS / "components/monitoring/generate", "--check"],
                              capture_output=True, text=True, timeout=30)
        self.assertEqual(made.returncode, 0, made.stderr)


class Creating(unittest.TestCase):
    def test_the_job_has_what_the_gateways_have_and_is_none_of_them(self):
        job = one("Job", folder="recipes/create-disk")
        template = job["spec"]["template"]
        [found] = template["spec"]["containers"]
        self.assertEqual(job["metadata"]["namespace"], one("StatefulSet")["metadata"]["namespace"])
        self.assertEqual(template["spec"]["serviceAccountName"], one("ServiceAccount")["metadata"]["name"])
        self.assertEqual(found["image"], container()["image"])
        self.assertEqual(found["envFrom"], container()["envFrom"])
        for name, volumes in (("volumeMounts", found["volumeMounts"]), ("volumes", template["spec"]["volumes"])):
            gateways = (container() if name == "volumeMounts" else pod()["spec"])[name]
            self.assertEqual(volumes, [volume for volume in gateways if volume["name"] == "credentials"])
        self.assertLessEqual({one["name"]: one.get("value") for one in found["env"]}.items(),
                             {one["name"]: one.get("value") for one in container()["env"]}.items())
        selector = one("StatefulSet")["spec"]["selector"]["matchLabels"]
        self.assertFalse(selector.items() <= template["metadata"]["labels"].items())

    def test_its_disk_is_one_that_a_gateway_serves_with_a_journal(self):
        [found] = one("Job", folder="recipes/create-disk")["spec"]["template"]["spec"]["containers"]
        exports = [export for disks in one("ConfigMap", "fra1-nbdgate-disks")["data"].values()
                   for export in tomllib.loads(disks)["export"]]
        self.assertIn(found["args"][2], [export["uri"] for export in exports])
        self.assertEqual(found["args"][found["args"].index("--flush") + 1], "journal")


class Attaching(unittest.TestCase):
    def test_clients_name_a_gateway_that_serves_the_export(self):
        command = one("Deployment", folder="attach/node")["spec"]["template"]["spec"]["containers"][0]["command"]
        machine = one("VirtualMachine", folder="attach/kubevirt-hook")["spec"]["template"]["metadata"]["annotations"]
        [location] = json.loads(machine["nbdgate/disks"]).values()
        found = re.fullmatch(r"nbd://([^:]+):(\d+)/(.+)", location)
        asked = [(command[-3], command[-2], command[command.index("-name") + 1]), found.groups()]
        for host, port, export in asked:
            name, service, namespace, rest = host.split(".", 3)
            self.assertEqual((service, namespace, rest), (one("StatefulSet")["spec"]["serviceName"], "storage", "svc"))
            self.assertEqual(int(port), one("Service", service)["spec"]["ports"][0]["port"])
            self.assertIn(f'name = "{export}"\n', one("ConfigMap", "fra1-nbdgate-disks")["data"][f"{name}.toml"])

    def test_the_network_policy_lets_these_clients_in(self):
        [clients, _] = one("NetworkPolicy")["spec"]["ingress"]
        wanted = clients["from"][1]
        for folder, kind in (("attach/node", "Deployment"), ("attach/kubevirt-hook", "VirtualMachine")):
            labels = one(kind, folder=folder)["spec"]["template"]["metadata"]["labels"]
            self.assertLessEqual(wanted["podSelector"]["matchLabels"].items(), labels.items())
            namespace = one("Namespace", folder=folder)
            self.assertLessEqual(wanted["namespaceSelector"]["matchLabels"].items(), namespace["metadata"]["labels"].items())
            self.assertEqual(one(kind, folder=folder)["metadata"]["namespace"], namespace["metadata"]["name"])

    def test_the_volume_is_the_attached_device(self):
        attach = one("Deployment", folder="attach/node")["spec"]["template"]["spec"]
        volume = one("PersistentVolume", folder="attach/node")
        [term] = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
        self.assertEqual(attach["containers"][0]["command"][-1], volume["spec"]["local"]["path"])
        self.assertEqual(term["matchExpressions"][0]["values"], [attach["nodeSelector"]["kubernetes.io/hostname"]])
        claim = one("PersistentVolumeClaim", folder="attach/kubevirt-block")
        self.assertEqual(claim["spec"]["volumeName"], volume["metadata"]["name"])
        for field in ("volumeMode", "accessModes", "storageClassName"):
            self.assertEqual(claim["spec"][field], volume["spec"][field])
        self.assertEqual(claim["spec"]["resources"]["requests"], volume["spec"]["capacity"])

    def test_machines_have_the_disks_of_their_volumes(self):
        for folder in ("attach/kubevirt-block", "attach/kubevirt-hook"):
            spec = one("VirtualMachine", folder=folder)["spec"]["template"]["spec"]
            self.assertEqual([disk["name"] for disk in spec["domain"]["devices"]["disks"]],
                             [volume["name"] for volume in spec["volumes"]])

    def test_the_hook_of_the_annotation_is_there(self):
        annotations = one("VirtualMachine", folder="attach/kubevirt-hook")["spec"]["template"]["metadata"]["annotations"]
        [sidecar] = json.loads(annotations["hooks.kubevirt.io/hookSidecars"])
        hook = one("ConfigMap", sidecar["configMap"]["name"], folder="attach/kubevirt-hook")
        self.assertIn(sidecar["configMap"]["key"], hook["data"])
        self.assertEqual(sidecar["configMap"]["hookPath"], "/usr/bin/onDefineDomain")


if __name__ == "__main__":
    unittest.main()
