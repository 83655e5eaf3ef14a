"""deploy/kubernetes: valid by Kubernetes' own schemas, and the same production form as docker-compose.yml."""

from __future__ import annotations

import os
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from app.settings import (
    SECRET_SETTINGS,
    DatabaseSettings,
    QueueSettings,
    Settings,
    SomeSettings,
    load_some_settings,
)
from tests.devstack.kubernetes import (
    COMPOSE,
    FOLDER,
    FORMS,
    ROLES,
    SECRETS_FOLDER,
    WATCHED,
    Pod,
    environment,
    of_kind,
    pods,
    render,
    secrets,
    settings,
)

_OTHERS_KINDS = {"ScaledObject", "TriggerAuthentication", "PodMonitor", "PrometheusRule"}
_AWS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
_BY_A_COMPONENT = {
    "TELEGRAM_PROXY": "proxy",
    "TELEGRAM_BOT_TOKEN": "mini-app",
    "OTEL_EXPORTER_OTLP_HEADERS": "tracing-token",
}
_KINDS = {
    "migrate": DatabaseSettings,
    "web": Settings,
    "worker-logins": Settings,
    "worker-background": Settings,
    "beat": QueueSettings,
    "flower": QueueSettings,
}
_FILES = {
    "database_url": "postgresql://latchkey_service:x@db/latchkey?sslmode=verify-full\n",
    "database_owner_url": "postgresql://latchkey:x@db/latchkey\n",
    "redis_url": "rediss://service:x@redis:6379/0\n",
    "telegram_api_hash": "0123456789abcdef0123456789abcdef\n",
    "local_key": "A" * 43 + "=\n",
}
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


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_every_object_is_valid(form: str, version: str) -> None:
    """By Kubernetes' own schemas, of the oldest and the newest version that is supported; unknown fields are errors."""
    for each in render(form):
        if each["kind"] not in _OTHERS_KINDS:
            kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize("form", FORMS)
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


@pytest.mark.parametrize("form", ["overlays/small", "overlays/production"])
@pytest.mark.parametrize(("role", "kind"), _KINDS.items())
def test_a_role_starts_with_what_it_is_given(
    form: str, role: str, kind: type[SomeSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is empty has its default, what is a file is read, and nothing that it cannot do without is missing."""
    for name, text in _FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)  # no .env
    for name in os.environ:
        if name != "PATH":
            monkeypatch.delenv(name)
    for name, value in environment(form, pods(form)[role].main).items():
        monkeypatch.setenv(name, value.replace(SECRETS_FOLDER, f"{tmp_path}/"))
    loaded = load_some_settings(kind)
    if isinstance(loaded, Settings):
        assert (loaded.public_url, loaded.telegram_api_id) == ("https://latchkey.example.com", 12345)
        assert loaded.key_provider == ("aws-kms" if form.endswith("production") else "local")


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
    if role in WATCHED:
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


@pytest.mark.parametrize("role", WATCHED)
def test_the_paths_that_are_asked_for_exist(role: str) -> None:
    """Web's are views, those of workers and beat their operators' server's, which is read: it loads no settings here."""
    main = pods("base")[role].main
    paths = {main[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")}
    source = Path(__file__).parents[2] / ("web/views/ops.py" if role == "web" else "tasks/operators.py")
    assert all(f'"{path}"' in source.read_text() for path in paths)
