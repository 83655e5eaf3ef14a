"""The manifests of deploy/kubernetes, rendered as `kubectl apply -k` would: no cluster is asked."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from app.settings import SECRET_SETTINGS

_ROOT = Path(__file__).resolve().parents[2]
FOLDER = _ROOT / "deploy" / "kubernetes"
COMPOSE: dict[str, Any] = yaml.safe_load((_ROOT / "docker-compose.yml").read_text())["services"]
ROLES = ("migrate", "web", "worker-logins", "worker-background", "beat", "flower", "celery-exporter")
FORMS = ("base", "overlays/small", "overlays/production")
WATCHED = ("web", "worker-logins", "worker-background", "beat")
SECRETS_FOLDER = "/run/secrets/latchkey/"

Object = dict[str, Any]


class Pod(NamedTuple):
    """What a role's workload makes: its own object, the pod's labels and the pod's spec."""

    workload: Object
    labels: dict[str, str]
    spec: Object

    @property
    def main(self) -> Object:
        """The container that plays the role."""
        found: Object = self.spec["containers"][0]
        return found

    @property
    def containers(self) -> list[Object]:
        """All of them, those that come first too."""
        return [*self.spec.get("initContainers", ()), *self.spec["containers"]]


@cache
def render(folder: str) -> tuple[Object, ...]:
    """Render ``base`` or an overlay."""
    kubectl = Path(sys.executable).with_name("kubectl")
    done = subprocess.run(
        [kubectl, "kustomize", FOLDER / folder], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def of_kind(folder: str, kind: str) -> dict[str, Object]:
    """All objects of a kind, by name."""
    return {each["metadata"]["name"]: each for each in render(folder) if each["kind"] == kind}


def pods(folder: str) -> dict[str, Pod]:
    """Each role's pod."""
    workloads = of_kind(folder, "Deployment") | of_kind(folder, "Job")
    return {
        name: Pod(each, each["spec"]["template"]["metadata"]["labels"], each["spec"]["template"]["spec"])
        for name, each in workloads.items()
    }


def environment(folder: str, container: Object) -> dict[str, str]:
    """What a container's environment says; what comes from a Secret is only told to be one."""
    found: dict[str, str] = {}
    for source in container.get("envFrom", ()):
        found |= of_kind(folder, "ConfigMap")[source["configMapRef"]["name"]]["data"]
    return found | {each["name"]: each.get("value", "a secret") for each in container.get("env", ())}


def settings(folder: str, container: Object) -> dict[str, str]:
    """The same under the settings' own names: NAME_FILE is NAME's."""
    return {
        name.removesuffix("_FILE") if name.removesuffix("_FILE") in SECRET_SETTINGS else name: value
        for name, value in environment(folder, container).items()
    }


def secrets(pod: Pod) -> Iterator[tuple[str, str]]:
    """Every Secret that a pod has: its name, and whether as a volume or as a variable."""
    for volume in pod.spec.get("volumes", ()):
        if "secret" in volume:
            yield volume["secret"]["secretName"], "volume"
    for container in pod.containers:
        for each in container.get("env", ()):
            if reference := each.get("valueFrom", {}).get("secretKeyRef"):
                yield reference["name"], "variable"
        assert not any("secretRef" in each for each in container.get("envFrom", ()))
