"""deploy/kubernetes in its cluster: who speaks to whom, what scales and drains, how users and Prometheus come in."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from deploy import kubernetes_alerts
from tests.devstack.kubernetes import FOLDER, FORMS, ROLES, WATCHED, Object, Pod, of_kind, pods, settings
from tests.devstack.prometheus import rules


@pytest.mark.parametrize("form", FORMS)
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


@pytest.mark.parametrize("form", FORMS)
def test_a_node_can_be_drained(form: str) -> None:
    """One pod after the other, and a lone one too: a budget that lets nobody go would hold up the whole cluster."""
    for name, each in of_kind(form, "PodDisruptionBudget").items():
        assert each["spec"]["maxUnavailable"] == 1
        selected = [pod for pod in pods(form).values() if _selects(each["spec"]["selector"], pod)]
        assert [pod.workload["metadata"]["name"] for pod in selected] == [name]
    assert set(of_kind(form, "PodDisruptionBudget")) == set(WATCHED)


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
    for each_form in FORMS:
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
