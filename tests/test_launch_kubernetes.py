"""launch/kubernetes.yaml and launch/Dockerfile, against schemas and against each other."""

import re

import pytest
import yaml
from process_helpers import ROOT

from bot_jax.main import _parse

# Kubernetes expands $(NAME) in arguments where the container's `env` has NAME.
REFERENCE = re.compile(r"\$\((\w+)\)")


@pytest.fixture(scope="module")
def manifest():
    claim, job_set = yaml.safe_load_all((ROOT / "launch" / "kubernetes.yaml").read_text())
    assert (claim["kind"], job_set["kind"]) == ("PersistentVolumeClaim", "JobSet")
    return claim, job_set


@pytest.fixture(scope="module")
def job_spec(manifest):
    (replicated,) = manifest[1]["spec"]["replicatedJobs"]
    return replicated["template"]["spec"]


@pytest.fixture(scope="module")
def container(job_spec):
    (only,) = job_spec["template"]["spec"]["containers"]
    return only


def test_all_fields_are_those_of_job_set_and_kubernetes(manifest):
    models = pytest.importorskip("kubeflow_trainer_api.models")
    # A model drops the fields that it does not know.
    claim, job_set = manifest
    assert models.JobsetV1alpha2JobSet.from_dict(job_set).to_dict() == job_set
    read = models.IoK8sApiCoreV1PersistentVolumeClaimSpec.from_dict(claim["spec"])
    assert read.to_dict() == claim["spec"]


def test_job_and_claim_fit_the_schemas_of_kubernetes(manifest):
    validate = pytest.importorskip("kubernetes_validate").validate
    claim, job_set = manifest
    (replicated,) = job_set["spec"]["replicatedJobs"]
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job"}}
    for version in ("1.31", "1.34"):
        validate(claim, version, strict=True)
        validate(job | replicated["template"], version, strict=True)


def test_job_set_has_values_that_its_documentation_allows(manifest, job_spec):
    spec = manifest[1]["spec"]
    (rule,) = spec["failurePolicy"]["rules"]
    assert rule["action"] in ("FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts")
    assert re.fullmatch("[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", rule["name"])
    assert rule["onJobFailureReasons"] == ["PodFailurePolicy"]
    assert spec["failurePolicy"]["maxRestarts"] > 0
    # Without these a Job starts a failed pod again by itself, and the others never learn of it.
    assert job_spec["backoffLimit"] == 0
    assert job_spec["template"]["spec"]["restartPolicy"] == "Never"


def test_wrong_input_alone_is_not_tried_again(job_spec, container):
    (rule,) = job_spec["podFailurePolicy"]["rules"]
    codes = rule["onExitCodes"]
    assert codes == {"containerName": container["name"], "operator": "In", "values": [2]}


def test_processes_find_each_other(manifest, job_spec, container):
    job_set = manifest[1]
    (replicated,) = job_set["spec"]["replicatedJobs"]
    environment = {variable["name"]: variable for variable in container["env"]}
    number = environment["JOB_COMPLETION_INDEX"]["valueFrom"]["fieldRef"]["fieldPath"]
    assert number == "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    assert set(REFERENCE.findall(" ".join(container["args"]))) <= environment.keys()

    flags, _ = _parse([REFERENCE.sub("1", argument) for argument in container["args"]])
    assert flags.process_id == 1
    assert flags.num_processes == job_spec["completions"] == job_spec["parallelism"]
    assert job_spec["completionMode"] == "Indexed"
    host, port = flags.coordinator.split(":")
    names = (job_set["metadata"]["name"], replicated["name"])
    assert host == f"{names[0]}-{names[1]}-0-0.{job_set['spec']['network']['subdomain']}"
    assert int(port) in [port["containerPort"] for port in container["ports"]]


def test_working_directory_is_on_the_shared_volume(manifest, job_spec, container):
    volumes = {volume["name"]: volume for volume in job_spec["template"]["spec"]["volumes"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts.keys() == volumes.keys()
    (shared,) = (name for name in volumes if "persistentVolumeClaim" in volumes[name])
    claim = manifest[0]
    assert volumes[shared]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    flags, overrides = _parse([REFERENCE.sub("1", argument) for argument in container["args"]])
    assert str(flags.workdir).startswith(mounts[shared] + "/")
    assert any(field.startswith(f"data.path={mounts[shared]}/") for field in overrides)
    assert (ROOT / flags.config).is_file()


def test_image_is_built_of_files_that_are_there():
    text = (ROOT / "launch" / "Dockerfile").read_text()
    ignored = (ROOT / "launch" / "Dockerfile.dockerignore").read_text().splitlines()
    sources = [name for line in re.findall("(?m)^COPY (.*)$", text) for name in line.split()[:-1]]
    assert len(sources) == 6
    for source in sources:
        assert (ROOT / source).exists()
        assert f"!{source}" in ignored
    assert '"python", "-m", "bot_jax.main"]' in text
