"""deploy/kubernetes: valid by Kubernetes' own schemas, and the same production form as docker-compose.yml."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import pytest
import yaml

from app.settings import SECRET_SETTINGS
from deploy import kubernetes_alerts
from tests.devstack.kubernetes import COMPOSE, FOLDER, ROLES, Object, Pod, of_kind, pods, render, secrets, settings
from tests.devstack.prometheus import rules

_FORMS = ("base", "overlays/small", "overlays/production")
_OTHERS_KINDS = {"ScaledObject", "TriggerAuthentication", "PodMonitor", "PrometheusRule"}
_WATCHED = ("web", "worker-logins", "worker-background", "beat")
_AWS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
_BY_A_COMPONENT = {"TELEGRAM_PROXY": "proxy", "TELEGRAM_BOT_TOKEN": "mini-app"}
_SUFFIXES = {"Mi": 2**20, "Gi": 2**30, "M": 2**20, "G": 2**30}  # Docker's M is Kubernetes' Mi


@pytest.fixture(params=ROLES)
def role(request: pytest.FixtureRequest) -> str:
    """Each role in turn."""
    name: str = request.param
    return name


@pytest.fixture
def pod(role: str) -> Pod:
    """Its pod, as `base` has it."""
    return pods("base")[role]


@pytest.mark.parametrize("form", _FORMS)
@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_every_object_is_valid(form: str, version: str) -> None:
    """By Kubernetes' own schemas, of the oldest and the newest version that is supported; unknown fields are errors."""
    for each in render(form):
        if each["kind"] not in _OTHERS_KINDS:
            kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize("form", _FORMS)
def test_every_object_stands_once_and_in_one_namespace(form: str) -> None:
    """An object outside it would be in whatever namespace the operator's shell is."""
    names = [(each["kind"], each["metadata"]["name"]) for each in render(form)]
    assert len(names) == len(set(names))
    assert {each["metadata"].get("namespace") for each in render(form) if each["kind"] != "Namespace"} == {"latchkey"}


def test_the_roles_are_those_of_docker_compose() -> None:
    """All that the project builds, and the exporter; stores, Prometheus and Grafana are the operator's own."""
    own = {"postgres", "redis", "s3", "bucket", "prometheus", "grafana"}
    assert set(pods("base")) == set(ROLES) == set(COMPOSE) - own


def test_a_role_does_the_same(role: str, pod: Pod) -> None:
    """The same image and the same command; what the image does by itself is nowhere repeated."""
    assert pod.main["image"] == COMPOSE[role]["image"]
    assert pod.main.get("args") == COMPOSE[role].get("command")
    assert "command" not in pod.main


def test_a_role_has_the_same_settings(role: str, pod: Pod) -> None:
    """No more, no less; AWS' two credentials are one file, and what is optional and secret comes by a component."""
    compose = set(COMPOSE[role]["environment"])
    if compose >= _AWS:
        compose = compose - _AWS | {"AWS_SHARED_CREDENTIALS_FILE"}
    assert set(settings("base", pod.main)) == compose - set(_BY_A_COMPONENT)
    assert set(settings("base", pod.main)) & set(_BY_A_COMPONENT) == set()


@pytest.mark.parametrize(("setting", "component"), _BY_A_COMPONENT.items())
def test_a_component_gives_an_optional_secret_to_the_roles_that_need_it(setting: str, component: str) -> None:
    """To the same ones that docker-compose.yml gives it to, as a file."""
    text = (FOLDER / "components" / component / "kustomization.yaml").read_text()
    [patch] = yaml.safe_load(text)["patches"]
    [change] = yaml.safe_load(patch["patch"])
    assert change["value"]["name"] == f"{setting}_FILE"
    assert change["value"]["value"] == f"/run/secrets/latchkey/{setting.lower()}"
    needs = {name for name in ROLES if setting in COMPOSE[name]["environment"]}
    assert set(patch["target"]["name"].split("|")) == needs


def test_a_secret_is_no_plain_setting(role: str, pod: Pod) -> None:
    """What SECRET_SETTINGS names comes as a file from the role's own Secret, never as a value or from a ConfigMap."""
    for container in pod.containers:
        for name, value in settings("base", container).items():
            if name in SECRET_SETTINGS:
                assert value == f"/run/secrets/latchkey/{name.lower()}"
    for each in of_kind("base", "ConfigMap").values():
        assert not set(each["data"]) & set(SECRET_SETTINGS)
    assert "Secret" not in {each["kind"] for each in render("overlays/production")}, "none is kept with the manifests"


def test_a_pod_has_the_secret_of_its_role_alone(role: str, pod: Pod) -> None:
    """One Secret for each role, so that no pod can be given what its role does not need; only two programs read variables."""
    found = set(secrets(pod))
    assert {name for name, _ in found} == {role}
    assert {how for _, how in found} == {"flower": {"volume", "variable"}, "celery-exporter": {"variable"}}.get(
        role, {"volume"}
    )


def test_the_owner_of_the_tables_is_known_to_the_migration_alone() -> None:
    """Whoever breaks into any other pod cannot change the audit."""
    knows = {name for name, pod in pods("base").items() if "DATABASE_OWNER_URL" in settings("base", pod.main)}
    assert knows == {"migrate"}


def test_the_roles_that_use_the_database_wait_for_its_schema(role: str, pod: Pod) -> None:
    """A worker takes tasks as soon as it runs, whatever its probes say: so it must not run before."""
    first = [each["args"] for each in pod.spec.get("initContainers", ())]
    uses_it = "DATABASE_URL" in settings("base", pod.main) and role != "migrate"
    assert first == ([["python", "-m", "app", "migrate", "--wait"]] if uses_it else [])


def test_a_role_is_asked_how_it_is(role: str, pod: Pod) -> None:
    """Start, life and readiness; of those that Latchkey itself answers for, on the operators' port and its two paths."""
    if role == "migrate":
        return
    ports = {each["name"]: each["containerPort"] for each in pod.main["ports"]}
    asked = {kind: pod.main[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
    assert all(each["port"] in ports for each in asked.values())
    if role in _WATCHED:
        assert ports["operators"] == int(settings("base", pod.main)["METRICS_PORT"])
        assert {kind: each["path"] for kind, each in asked.items()} == {
            "startup": "/healthz",
            "liveness": "/healthz",
            "readiness": "/readyz",
        }
        assert {each["port"] for each in asked.values()} == {"operators"}
        assert settings("base", pod.main)["METRICS_HOST"] == "0.0.0.0"
    else:
        [path] = {each["path"] for each in asked.values()}
        assert path in str(COMPOSE[role]["healthcheck"]["test"])
    # A look at the dependencies takes two seconds at most.
    assert all(pod.main[f"{kind}Probe"]["timeoutSeconds"] > 2 for kind in asked)


def test_a_role_stops_as_it_does_under_docker_compose(role: str, pod: Pod) -> None:
    """SIGTERM, which is Kubernetes' own, and the same time; web first waits until nobody is sent to it any more."""
    if role == "migrate":
        return
    grace = int(COMPOSE[role].get("stop_grace_period", "10s").removesuffix("s"))
    assert pod.spec["terminationGracePeriodSeconds"] == grace
    assert COMPOSE[role].get("stop_signal", "SIGTERM") == "SIGTERM"
    assert "stopSignal" not in pod.main.get("lifecycle", {})
    if role == "web":
        graceful_timeout = 3  # deploy/gunicorn.py
        assert pod.main["lifecycle"]["preStop"]["sleep"]["seconds"] + graceful_timeout < grace


def test_a_role_takes_no_more_than_under_docker_compose(role: str, pod: Pod) -> None:
    """Every container says what it needs and what it may take at most; the role's own as docker-compose.yml does."""
    limits = COMPOSE[role]["deploy"]["resources"]["limits"]
    found = pod.main["resources"]["limits"]
    assert (float(found["cpu"]), _bytes(found["memory"])) == (float(limits["cpus"]), _bytes(limits["memory"]))
    for container in pod.containers:
        assert set(container["resources"]["requests"]) == set(container["resources"]["limits"])
        assert {"cpu", "memory", "ephemeral-storage"} <= set(container["resources"]["limits"])


def _bytes(text: str) -> int:
    suffix = text.lstrip("0123456789")
    return int(text.removesuffix(suffix)) * _SUFFIXES[suffix]


def test_a_pod_can_do_nothing_but_its_work(role: str, pod: Pod) -> None:
    """An unprivileged user of a fixed number, a root that is read only, no capability, no word with Kubernetes."""
    security = pod.spec["securityContext"]
    assert security["runAsNonRoot"]
    assert (security["runAsUser"], security["runAsGroup"], security["fsGroup"]) == (10001, 10001, 10001)
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod.spec["automountServiceAccountToken"] is False
    assert pod.spec["serviceAccountName"] == role
    assert of_kind("base", "ServiceAccount")[role]["automountServiceAccountToken"] is False
    assert pod.spec["enableServiceLinks"] is False  # FLOWER_PORT=tcp://… ends Flower
    for container in pod.containers:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
    for volume in pod.spec["volumes"]:
        assert set(volume) - {"name"} <= {"secret", "emptyDir"}
        assert volume.get("secret", {}).get("defaultMode", 0o440) == 0o440
    assert (
        of_kind("base", "Namespace")["latchkey"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
        == "restricted"
    )


def test_webs_counts_are_on_a_folder_that_all_its_processes_share() -> None:
    """PROMETHEUS_MULTIPROC_DIR is inside an emptyDir, not the mount itself: it is removed and made anew at each start."""
    pod = pods("base")["web"]
    [mount] = [each for each in pod.main["volumeMounts"] if each["name"] == "tmp"]
    folder = settings("base", pod.main)["PROMETHEUS_MULTIPROC_DIR"]
    assert folder.startswith(mount["mountPath"] + "/")
    assert "emptyDir" in next(each for each in pod.spec["volumes"] if each["name"] == "tmp")


def test_a_role_is_on_the_same_networks(role: str, pod: Pod) -> None:
    """Stores and Prometheus as in docker-compose.yml; the way out is for those who call out, not for published ports."""
    prefix = "network.latchkey/"
    found = {label.removeprefix(prefix) for label in pod.labels if label.startswith(prefix)}
    expected = set(COMPOSE[role]["networks"])
    if role == "flower":
        expected -= {"outside"}
    assert found == expected


@pytest.mark.parametrize("form", _FORMS)
def test_nobody_speaks_to_anybody_except_as_said(form: str) -> None:
    """All is denied first; a policy for each network; the way out leads to nothing of the cluster; two doors in."""
    policies = {name: each["spec"] for name, each in of_kind(form, "NetworkPolicy").items()}
    assert policies["deny-all"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    on_a_network = {
        name: spec for name, spec in policies.items() if f"network.latchkey/{name}" in str(spec["podSelector"])
    }
    assert set(on_a_network) >= {"postgres", "redis", "outside", "watch"}
    assert {name for name, spec in policies.items() if "ingress" in spec} == {"watch", "users"}
    for name in {"postgres", "redis", "s3"} & set(policies):
        for rule in policies[name]["egress"]:
            assert rule["ports"]
            assert all(each["ipBlock"]["cidr"].startswith(("10.", "172.16.", "192.168.")) for each in rule["to"])
    [out] = policies["outside"]["egress"]
    assert {"10.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"} <= set(out["to"][0]["ipBlock"]["except"])
    assert policies["users"]["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "web"}


@pytest.mark.parametrize("form", _FORMS)
def test_a_node_can_be_drained(form: str) -> None:
    """One pod after the other, and a lone one too: a budget that lets nobody go would hold up the whole cluster."""
    for name, each in of_kind(form, "PodDisruptionBudget").items():
        assert each["spec"]["maxUnavailable"] == 1
        selected = [pod for pod in pods(form).values() if _selects(each["spec"]["selector"], pod)]
        assert [pod.workload["metadata"]["name"] for pod in selected] == [name]
    assert set(of_kind(form, "PodDisruptionBudget")) == set(_WATCHED)


def _selects(selector: Object, pod: Pod) -> bool:
    wanted: dict[str, Any] = selector["matchLabels"]
    return wanted.items() <= pod.labels.items()


def test_prometheus_finds_every_role_by_the_name_that_the_alerts_have() -> None:
    """The jobs of deploy/prometheus/prometheus.yml are the pods' labels."""
    [monitor] = of_kind("overlays/production", "PodMonitor").values()
    assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
    spec = monitor["spec"]
    found = {
        pod.labels[spec["jobLabel"]]
        for pod in pods("overlays/production").values()
        if _selects(spec["selector"], pod) and spec["podMetricsEndpoints"][0]["port"] in _ports(pod)
    }
    scraped = yaml.safe_load((FOLDER.parent / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    assert found == {each["job_name"] for each in scraped}


def test_the_alerts_are_those_of_docker_compose() -> None:
    """`make kubernetes` writes them anew."""
    assert kubernetes_alerts.TARGET.read_text() == kubernetes_alerts.render(), "run: make kubernetes"
    [rule] = of_kind("overlays/production", "PrometheusRule").values()
    alerts = [each for group in rule["spec"]["groups"] for each in group["rules"] if "alert" in each]
    assert {each["alert"] for each in alerts} == {each["alert"] for each in rules() if "alert" in each}


def _ports(pod: Pod) -> set[str]:
    return {each["name"] for each in pod.main.get("ports", ())}


def test_who_scales_a_role_owns_its_number() -> None:
    """A number in the Deployment would undo at each apply what the autoscaler did; beat is never more than one."""
    form = "overlays/production"
    scaled = {each["spec"]["scaleTargetRef"]["name"] for each in of_kind(form, "ScaledObject").values()}
    scaled |= {each["spec"]["scaleTargetRef"]["name"] for each in of_kind(form, "HorizontalPodAutoscaler").values()}
    assert scaled == {"web", "worker-logins"}
    for name, each in of_kind(form, "Deployment").items():
        assert ("replicas" in each["spec"]) == (name not in scaled)
    for each_form in _FORMS:
        beat = of_kind(each_form, "Deployment")["beat"]["spec"]
        assert (beat["replicas"], beat["strategy"]["type"]) == (1, "Recreate")


def test_login_workers_grow_with_their_queue_and_their_logins() -> None:
    """By KEDA: the Redis list of the queue that they take from, and logins under way before their threads are used up."""
    form = "overlays/production"
    [scaled] = of_kind(form, "ScaledObject").values()
    queue, pending = scaled["spec"]["triggers"]
    args = pods(form)["worker-logins"].main["args"]
    assert queue["type"] == "redis"
    assert queue["metadata"]["listName"] == args[args.index("-Q") + 1]
    assert pending["type"] == "prometheus"
    assert int(pending["metadata"]["threshold"]) < int(args[args.index("-c") + 1])
    assert 1 < scaled["spec"]["minReplicaCount"] < scaled["spec"]["maxReplicaCount"]
    authentication = of_kind(form, "TriggerAuthentication")[queue["authenticationRef"]["name"]]
    assert {each["name"] for each in authentication["spec"]["secretTargetRef"]} == {"autoscaler"}


@pytest.mark.parametrize("form", ["overlays/small", "overlays/production"])
def test_users_come_by_tls_and_are_told_apart(form: str) -> None:
    """The Ingress is the one proxy that may name an address, and the name is the one that PUBLIC_URL has."""
    [ingress] = of_kind(form, "Ingress").values()
    [tls], [rule] = ingress["spec"]["tls"], ingress["spec"]["rules"]
    assert tls["hosts"] == [rule["host"]]
    told = settings(form, pods(form)["web"].main)
    assert (told["PUBLIC_URL"], told["TRUSTED_PROXIES"]) == (f"https://{rule['host']}", "1")
    backend = rule["http"]["paths"][0]["backend"]["service"]
    [port] = of_kind(form, "Service")[backend["name"]]["spec"]["ports"]
    assert port["name"] == backend["port"]["name"]
    assert port["targetPort"] in _ports(pods(form)["web"])


def test_with_kms_there_is_no_key_file() -> None:
    """A LOCAL_KEY_FILE that is not there would end the process."""
    told = settings("overlays/production", pods("overlays/production")["web"].main)
    assert (told["KEY_PROVIDER"], told["LOCAL_KEY_FILE"]) == ("aws-kms", "")


def test_the_guide_names_every_secret_and_gives_redis_users_their_rights() -> None:
    """What an operator copies from docs/operations/kubernetes.md is what the pods read and what deploy/redis/users says."""
    guide = (FOLDER.parents[1] / "docs" / "operations" / "kubernetes.md").read_text()
    for line in (FOLDER.parent / "redis" / "users").read_text().splitlines():
        if line and not line.startswith("#"):
            name, rules = line.split(" ", 1)
            assert f"ACL SETUSER {name} on >… {rules}" in guide
    for role in ROLES:
        for value in settings("base", pods("base")[role].main).values():
            if value.startswith("/run/secrets/latchkey/"):
                assert f"`{value.removeprefix('/run/secrets/latchkey/')}`" in guide
    components = {each.name for each in (FOLDER / "components").iterdir()}
    assert all(each in guide for each in components)
