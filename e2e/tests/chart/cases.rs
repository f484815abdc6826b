//! Values of the chart and what becomes of them: what must appear, what must not, what is refused and
//! in which words.

/// Values without which the chart has nothing to install.
pub(crate) const LEAST: &str = "network.clusterCIDRs={10.244.0.0/16}";

/// What becomes of values.
pub(crate) enum Then {
    /// Lines, without their indentation, that the manifest has.
    Has(&'static [&'static str]),
    /// Texts that appear nowhere in the manifest.
    Lacks(&'static [&'static str]),
    /// What helm says instead.
    Refused(&'static str),
}
use Then::{Has, Lacks, Refused};

/// Values as `--set` takes them, or a flag of helm itself, and what becomes of them.
pub(crate) type Case = (&'static [&'static str], Then);

const DIGEST: &str =
    "image.digest=sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#[rustfmt::skip]
pub(crate) const NETWORK: &[Case] = &[
    (&[LEAST], Has(&["- --cluster-cidr=10.244.0.0/16", "- --node-cidr-mask-size-ipv4=24", "- --network-plugin-mtu=0"])),
    (&[LEAST], Lacks(&["mask-size-ipv6", "service-cluster-ip-range"])),
    (&["network.clusterCIDRs={10.244.0.0/16,fd00:10:244::/56}"], Has(&["- --cluster-cidr=10.244.0.0/16,fd00:10:244::/56", "- --node-cidr-mask-size-ipv6=64"])),
    (&["network.clusterCIDRs={fd00:10:244::/56,10.244.0.0/16}"], Has(&["- --cluster-cidr=fd00:10:244::/56,10.244.0.0/16"])),
    (&["network.clusterCIDRs={fd00:10:244::/56}"], Lacks(&["mask-size-ipv4"])),
    (&["network.clusterCIDRs={fd00:10:244::/56}", "network.nodeMaskSize.ipv6=72"], Has(&["- --node-cidr-mask-size-ipv6=72"])),
    (&[LEAST, "network.nodeMaskSize.ipv4=26"], Has(&["- --node-cidr-mask-size-ipv4=26"])),
    (&[LEAST, "network.serviceCIDRs={10.96.0.0/12}"], Has(&["- --service-cluster-ip-range=10.96.0.0/12"])),
    (&[LEAST, "network.mtu=1400"], Has(&["- --network-plugin-mtu=1400"])),
    (&[LEAST], Lacks(&["--routing", "--non-masquerade-cidr"])),
    (&[LEAST], Lacks(&["--hairpin-mode", "--network-plugin="])),
    (&[LEAST, "agent.networkPlugin=cni"], Has(&["- --network-plugin=cni"])),
    (&[LEAST, "agent.networkPlugin=exec"], Refused("at '/agent/networkPlugin'")),
    (&[LEAST, "network.hairpinMode=promiscuous-bridge"], Has(&["- --hairpin-mode=promiscuous-bridge"])),
    (&[LEAST, "network.hairpinMode=veth"], Refused("at '/network/hairpinMode'")),
    (&[LEAST], Lacks(&["--take-over"])),
    (&[LEAST, "cni.takeOver=true"], Has(&["- --take-over"])),
    (&[LEAST, "agent.extraArgs={--take-over}"], Refused("--take-over is set by the chart")),
    (&[LEAST], Lacks(&["--loopback-host-ports"])),
    (&[LEAST, "network.loopbackHostPorts=false"], Has(&["- --loopback-host-ports=false"])),
    (&[LEAST, "network.loopbackHostPorts=no"], Refused("at '/network/loopbackHostPorts': got string, want boolean")),
    (&[LEAST, "network.routing=cloud"], Has(&["- --routing=cloud"])),
    (&[LEAST, "network.routing=bgp"], Refused("at '/network/routing'")),
    (&[LEAST, "network.nonMasqueradeCIDRs={172.16.0.0/12,192.0.2.0/24,fd00::/8}"], Has(&["- --non-masquerade-cidr=172.16.0.0/12,192.0.2.0/24,fd00::/8"])),
    (&[LEAST, "network.nonMasqueradeConfigMap=ip-masq-agent"], Has(&["- --non-masquerade-config=/etc/kubenet/masquerade/config", "configMap: {name: ip-masq-agent, optional: true}"])),
    (&[LEAST, "network.nonMasqueradeCIDRs={ten}"], Refused("at '/network/nonMasqueradeCIDRs/0'")),
    (&[], Refused("network.clusterCIDRs: name one range for each IP family of the pods")),
    (&["network.clusterCIDRs={10.244.0.0}"], Refused("at '/network/clusterCIDRs/0'")),
    (&["network.clusterCIDRs={}"], Refused("at '/network/clusterCIDRs/0'")),
    (&["network.clusterCIDRs=10.244.0.0/16"], Refused("at '/network/clusterCIDRs': got string, want array")),
    (&["network.clusterCIDRs={10.0.0.0/16,10.1.0.0/16}"], Refused("10.1.0.0/16 is a second range of ipv4")),
    (&["network.clusterCIDRs={10.0.0.0/16,fd00::/56,fd01::/56}"], Refused("maxItems: got 3, want 2")),
    (&[LEAST, "network.nodeMaskSize.ipv4=8"], Refused("a /8 for each Node does not fit into 10.244.0.0/16")),
    (&[LEAST, "network.nodeMaskSize.ipv4=33"], Refused("maximum: got 33, want 32")),
    (&["network.clusterCIDRs={fd00::/40}"], Refused("fd00::/40 has more than 65536 ranges of /64")),
    (&[LEAST, "network.serviceCIDRs={10.244.0.0/16}"], Refused("network.serviceCIDRs: 10.244.0.0/16 is the pods' range too")),
    (&[LEAST, "network.serviceCIDRs={10.0.0.0/16,10.1.0.0/16}"], Refused("network.serviceCIDRs: 10.1.0.0/16 is a second range of ipv4")),
    (&[LEAST, "network.mtu=100"], Refused("minimum: got 100, want 576")),
    (&[LEAST, "network.mtu=auto"], Refused("at '/network/mtu'")),
    (&["network.clusterCIDRs={fd00::/56}", "network.mtu=1000"], Refused("network.mtu: IPv6 needs at least 1280 bytes, not 1000")),
];

/// A machine without an API server.
const ALONE: &str = "staticPod.podCIDRs={10.244.7.0/24}";

#[rustfmt::skip]
pub(crate) const PROGRAMS: &[Case] = &[
    (&[LEAST], Has(&["image: kubenet:0.1.0", "imagePullPolicy: IfNotPresent"])),
    (&[LEAST, "image.registry=r.example:5000", "image.repository=team/kubenet", "image.tag=v9"], Has(&["image: r.example:5000/team/kubenet:v9"])),
    (&[LEAST, DIGEST, "image.tag=v9"], Has(&["image: kubenet@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"])),
    (&[LEAST, "image.digest=abc"], Refused("at '/image/digest'")),
    (&[LEAST, "image.registry=https://r.example"], Refused("at '/image/registry'")),
    (&[LEAST, "image.pullPolicy=Sometimes"], Refused("value must be one of 'Always', 'IfNotPresent', 'Never'")),
    (&[LEAST], Has(&["name: clustercidrs.networking.x-k8s.io", "helm.sh/resource-policy: keep"])),
    (&[LEAST, "crds.keep=false"], Lacks(&["resource-policy"])),
    (&[LEAST, "crds.enabled=false"], Lacks(&["CustomResourceDefinition"])),
    (&[LEAST, "controller.enabled=false"], Lacks(&["CustomResourceDefinition"])),
    (&[LEAST, "crds.enabled=maybe"], Refused("at '/crds/enabled'")),
    (&[LEAST, "imagePullSecrets[0].name=s"], Has(&["- name: s"])),
    (&[LEAST, "apiServer.host=api.example"], Has(&["- {name: KUBERNETES_SERVICE_HOST, value: \"api.example\"}", "- {name: KUBERNETES_SERVICE_PORT, value: \"6443\"}"])),
    (&[LEAST], Lacks(&["KUBERNETES_SERVICE_HOST"])),
    (&[LEAST, "apiServer.host=fd00::1", "apiServer.port=443"], Has(&["- {name: KUBERNETES_SERVICE_HOST, value: \"fd00::1\"}", "- {name: KUBERNETES_SERVICE_PORT, value: \"443\"}"])),
    (&[LEAST, "apiServer.host=https://api.example"], Refused("at '/apiServer/host'")),
    (&[LEAST, "apiServer.port=0"], Refused("at '/apiServer/port'")),
    (&[LEAST, "controller.enabled=false"], Lacks(&["name: kubenet-controller"])),
    (&[LEAST, "controller.enabled=perhaps"], Refused("at '/controller/enabled': got string, want boolean")),
    (&[LEAST], Lacks(&["--fence", "--release-delay", "verbs: [get, list, watch, create, update, delete]"])),
    (&[LEAST, "controller.fence=claims"], Has(&["- --fence=claims", "resources: [cidrclaims]"])),
    (&[LEAST, "controller.fence=claims", "controller.releaseDelay=24h"], Has(&["- --release-delay=24h"])),
    (&[LEAST, "controller.releaseDelay=24h"], Refused("controller.releaseDelay: needs controller.fence=claims")),
    (&[LEAST, "controller.fence=lock"], Refused("at '/controller/fence'")),
    (&[LEAST, "controller.fence=claims", "controller.releaseDelay=soon"], Refused("at '/controller/releaseDelay'")),
    (&[LEAST, "controller.extraArgs={--fence=claims}"], Refused("controller.extraArgs: --fence is set by the chart")),
    (&[LEAST, "controller.extraArgs={--kubeconfig=/k}"], Has(&["- --kubeconfig=/k"])),
    (&[LEAST, "controller.extraArgs={--cluster-cidr=10.0.0.0/8}"], Refused("controller.extraArgs: --cluster-cidr is set by the chart from a value of its own")),
    (&[LEAST, "agent.extraArgs={--node-name=n}"], Refused("agent.extraArgs: --node-name is set by the chart")),
    (&[LEAST, "agent.extraArgs={-v}"], Refused("at '/agent/extraArgs/0'")),
    (&[LEAST, "agent.extraEnv[0].name=A", "agent.extraEnv[0].value=b"], Has(&["- name: A", "value: b"])),
    (&[LEAST, "agent.extraVolumes[0].name=v", "agent.extraVolumes[0].emptyDir.medium=Memory", "agent.extraVolumeMounts[0].name=v", "agent.extraVolumeMounts[0].mountPath=/v"], Has(&["medium: Memory", "- mountPath: /v"])),
    (&[LEAST, "agent.podAnnotations.a=b", "controller.podLabels.team=net"], Has(&["a: b", "team: net"])),
    (&[LEAST, "controller.tolerations[0].key=special"], Has(&["- key: special", "- {key: node.kubernetes.io/not-ready, operator: Exists}"])),
    (&[LEAST, "controller.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].key=a", "controller.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].operator=Exists"], Has(&["nodeAffinity:"])),
    (&[LEAST, "agent.maxUnavailable=2"], Has(&["rollingUpdate: {maxUnavailable: 2}"])),
    (&[LEAST, "agent.maxUnavailable=0%"], Refused("at '/agent/maxUnavailable'")),
    (&[LEAST, "agent.appArmorProfile.type=Unconfined"], Has(&["appArmorProfile:", "type: Unconfined"])),
    (&[LEAST, "log.level=debug", "log.format=text"], Has(&["- {name: RUST_LOG, value: debug}", "- --log-format=text"])),
    (&[LEAST, "log.level=loud"], Refused("value must be one of 'error', 'warn', 'info', 'debug', 'trace'")),
    (&[LEAST, "rbac.create=false"], Lacks(&["ClusterRole"])),
    (&[LEAST], Has(&["helm.sh/hook: pre-delete", "command: [kubenet-agent, cleanup]", "- --timeout=60"])),
    (&[LEAST], Lacks(&["--force"])),
    (&[LEAST, "uninstall.force=true", "uninstall.timeout=10"], Has(&["- --force", "- --timeout=10"])),
    (&[LEAST, "uninstall.cleanUp=false"], Lacks(&["helm.sh/hook"])),
    (&[LEAST, "uninstall.timeout=0"], Refused("at '/uninstall/timeout'")),
    (&[LEAST, "admissionPolicy.enabled=false"], Lacks(&["ValidatingAdmissionPolicy"])),
    (&[LEAST, "commonLabels.team=net"], Has(&["team: net"])),
    (&[LEAST], Lacks(&["kind: Pod\n", "--pod-cidr"])),
    (&[LEAST], Lacks(&["modprobe", "SYS_MODULE", "/lib/modules"])),
    (&[LEAST, "agent.loadBridgeNetfilter=true"], Has(&["command: [kubenet-agent, modprobe]", "capabilities: {drop: [ALL], add: [SYS_MODULE]}", "- {name: modules, mountPath: /host/modules, readOnly: true}"])),
    (&[LEAST, "agent.loadBridgeNetfilter=1"], Refused("at '/agent/loadBridgeNetfilter': got number, want boolean")),
    (&[LEAST, ALONE], Has(&["kind: Pod", "name: kubenet-agent", "- --pod-cidr=10.244.7.0/24", "- --cluster-cidr=10.244.0.0/16"])),
    (&[LEAST, ALONE], Lacks(&["kind: DaemonSet", "kind: Deployment", "kind: Role", "kind: CustomResourceDefinition", "kind: ValidatingAdmissionPolicy", "serviceAccount", "helm.sh/hook"])),
    (&[LEAST, ALONE, "staticPod.cleanUp=true", "uninstall.force=true"], Has(&["name: kubenet-cleanup", "command: [kubenet-agent, cleanup]", "- --force"])),
    (&[LEAST, "staticPod.podCIDRs={10.244.7.0}"], Refused("at '/staticPod/podCIDRs/0'")),
    (&[LEAST, ALONE, "imagePullSecrets[0].name=s"], Refused("imagePullSecrets: a static pod can't use objects of the API")),
    (&[LEAST, ALONE, "network.nonMasqueradeConfigMap=m"], Refused("network.nonMasqueradeConfigMap: a static pod can't use objects of the API")),
    (&[LEAST, ALONE, "agent.networkPlugin=cni"], Refused("agent.networkPlugin: with staticPod.podCIDRs the agent makes cbr0")),
    (&[LEAST, "agent.extraArgs={--pod-cidr=10.0.0.0/24}"], Refused("agent.extraArgs: --pod-cidr is set by the chart")),
    (&[LEAST, "agent.extraArgs={--routing=none}"], Refused("agent.extraArgs: --routing is set by the chart")),
    (&[LEAST, "agent.extraArgs={--hairpin-mode=none}"], Refused("agent.extraArgs: --hairpin-mode is set by the chart")),
    (&[LEAST, "extraObjects[0].kind=ConfigMap", "extraObjects[0].apiVersion=v1", r"extraObjects[0].metadata.name=\{\{ .Release.Name \}\}-x"], Has(&["kind: ConfigMap", "name: 'kubenet-x'"])),
    (&[LEAST, "agnet.maxUnavailable=1"], Refused("additional properties 'agnet' not allowed")),
    (&[LEAST, "agent.replicas=1"], Refused("at '/agent': additional properties 'replicas' not allowed")),
    (&[LEAST, "--kube-version 1.29.3"], Refused("chart requires kubeVersion: >=1.30.0-0")),
    (&[LEAST, "--kube-version 1.30.0"], Has(&["apiVersion: apps/v1"])),
];

#[rustfmt::skip]
pub(crate) const MONITORING: &[Case] = &[
    (&[LEAST], Lacks(&["metrics-bind-address", "monitoring.coreos.com", "grafana", "NetworkPolicy"])),
    (&[LEAST, "metrics.enabled=true"], Has(&["- --metrics-bind-address=0.0.0.0:10286", "- --metrics-bind-address=0.0.0.0:10285", "- {name: metrics, containerPort: 10286}", "- {name: metrics, containerPort: 10285}"])),
    (&["network.clusterCIDRs={fd00::/56}", "metrics.enabled=true", "metrics.agentPort=9000"], Has(&["- --metrics-bind-address=[::]:9000"])),
    (&[LEAST, "metrics.enabled=true", "agent.extraArgs={--metrics-bind-address=}"], Refused("agent.extraArgs: --metrics-bind-address is set by the chart")),
    (&[LEAST, "metrics.enabled=true", "metrics.podMonitor.enabled=true", OPERATOR], Has(&["kind: PodMonitor", "interval: 30s"])),
    (&[LEAST, "metrics.podMonitor.enabled=true", OPERATOR], Refused("metrics.podMonitor: nothing can be read before metrics.enabled opens the port")),
    (&[LEAST, "metrics.enabled=true", "metrics.podMonitor.enabled=true"], Refused("install the Prometheus operator first")),
    (&[LEAST, "metrics.prometheusRule.enabled=true", "metrics.prometheusRule.labels.team=net", OPERATOR], Has(&["kind: PrometheusRule", "- alert: KubenetPoolNearlyFull", "team: net"])),
    (&[LEAST, "metrics.prometheusRule.enabled=true"], Refused("metrics.prometheusRule: the cluster has no monitoring.coreos.com/v1")),
    (&[LEAST, "metrics.podMonitor.interval=soon"], Refused("at '/metrics/podMonitor/interval'")),
    (&[LEAST, "metrics.dashboard.enabled=true"], Has(&["grafana_dashboard: \"1\"", "name: kubenet-dashboard"])),
    (&[LEAST, "networkPolicy.enabled=true"], Has(&["kind: NetworkPolicy", "policyTypes: [Ingress]"])),
];

const OPERATOR: &str = "--api-versions monitoring.coreos.com/v1";

#[rustfmt::skip]
pub(crate) const PLATFORMS: &[Case] = &[
    (&[LEAST, "platform=kubeadm"], Has(&["hostPath: {path: /opt/cni/bin, type: DirectoryOrCreate}", "hostPath: {path: /etc/cni/net.d, type: DirectoryOrCreate}"])),
    (&[LEAST, "platform=kubeadm"], Lacks(&["seLinuxOptions"])),
    (&[LEAST, "platform=kind"], Has(&["hostPath: {path: /opt/cni/bin, type: DirectoryOrCreate}"])),
    (&[LEAST, "platform=k0s"], Has(&["hostPath: {path: /etc/cni/net.d, type: DirectoryOrCreate}"])),
    (&[LEAST, "platform=minikube"], Has(&["hostPath: {path: /etc/cni/net.d, type: DirectoryOrCreate}"])),
    (&[LEAST, "platform=talos"], Has(&["hostPath: {path: /opt/cni/bin, type: DirectoryOrCreate}"])),
    (&[LEAST, "platform=flatcar"], Has(&["hostPath: {path: /opt/cni/bin, type: DirectoryOrCreate}"])),
    (&[LEAST, "platform=k3s"], Has(&["hostPath: {path: /var/lib/rancher/k3s/data/cni, type: DirectoryOrCreate}", "hostPath: {path: /var/lib/rancher/k3s/agent/etc/cni/net.d, type: DirectoryOrCreate}"])),
    (&[LEAST, "platform=microk8s"], Has(&["hostPath: {path: /var/snap/microk8s/current/opt/cni/bin, type: DirectoryOrCreate}"])),
    (&[LEAST, "platform=bottlerocket"], Has(&["type: super_t", "hostPath: {path: /opt/cni/bin, type: DirectoryOrCreate}"])),
    (&[LEAST, "platform=openshift"], Has(&["type: spc_t", "hostPath: {path: /var/run/multus/cni/net.d, type: DirectoryOrCreate}"])),
    (&[LEAST, "platform=openshift", "agent.seLinuxOptions.type=mine_t"], Has(&["type: mine_t"])),
    (&[LEAST, "platform=k3s", "cni.binDir=/mine"], Has(&["hostPath: {path: /mine, type: DirectoryOrCreate}", "hostPath: {path: /var/lib/rancher/k3s/agent/etc/cni/net.d, type: DirectoryOrCreate}"])),
    (&[LEAST, "cni.confDir=relative"], Refused("at '/cni/confDir'")),
    (&[LEAST, "platform=windows"], Refused("at '/platform': value must be one of 'kubeadm'")),
];
