{{/* What a pod of the agent is. Where staticPod.podCIDRs gives the machine its range it asks no API server, so it has no account and no token. */}}
{{- define "kubenet.agent.podSpec" -}}
{{- $platform := include "kubenet.platform" . | fromYaml -}}
{{- $cidrs := .Values.staticPod.podCIDRs -}}
{{ if not $cidrs -}}
serviceAccountName: {{ .Release.Name }}-agent
{{ end -}}
automountServiceAccountToken: false
priorityClassName: {{ .Values.agent.priorityClassName }}
hostNetwork: true
dnsPolicy: Default
terminationGracePeriodSeconds: 5
nodeSelector: {{- toYaml .Values.agent.nodeSelector | nindent 2 }}
{{- with .Values.agent.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
tolerations:
  - {operator: Exists}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  seccompProfile: {{- toYaml .Values.agent.seccompProfile | nindent 4 }}
  {{- with .Values.agent.appArmorProfile }}
  appArmorProfile: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- if .Values.agent.loadBridgeNetfilter }}
initContainers:
  - name: modprobe
    image: {{ include "kubenet.image" . }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    command: [kubenet-agent, modprobe]
    args:
      - --modules-dir=/host/modules
    terminationMessagePolicy: FallbackToLogsOnError
    resources: {{- toYaml .Values.agent.resources | nindent 6 }}
    securityContext:
      # The kernel asks for a capability, which only root keeps.
      runAsUser: 0
      runAsGroup: 0
      allowPrivilegeEscalation: false
      capabilities: {drop: [ALL], add: [SYS_MODULE]}
      readOnlyRootFilesystem: true
      {{- with $platform.seLinuxOptions }}
      seLinuxOptions: {{- toYaml . | nindent 8 }}
      {{- end }}
    volumeMounts:
      - {name: modules, mountPath: /host/modules, readOnly: true}
{{- end }}
containers:
  - name: agent
    image: {{ include "kubenet.image" . }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    command: [kubenet-agent]
    args:
      - --cluster-cidr={{ join "," .Values.network.clusterCIDRs }}
      {{- with $cidrs }}
      - --pod-cidr={{ join "," . }}
      {{- end }}
      {{- if ne .Values.agent.networkPlugin "kubenet" }}
      - --network-plugin={{ .Values.agent.networkPlugin }}
      {{- end }}
      {{- with .Values.network.serviceCIDRs }}
      - --service-cluster-ip-range={{ join "," . }}
      {{- end }}
      - --network-plugin-mtu={{ .Values.network.mtu }}
      {{- if ne .Values.network.hairpinMode "hairpin-veth" }}
      - --hairpin-mode={{ .Values.network.hairpinMode }}
      {{- end }}
      {{- if not .Values.network.loopbackHostPorts }}
      - --loopback-host-ports=false
      {{- end }}
      {{- if ne .Values.network.routing "direct" }}
      - --routing={{ .Values.network.routing }}
      {{- end }}
      {{- with .Values.network.nonMasqueradeCIDRs }}
      - --non-masquerade-cidr={{ join "," . }}
      {{- end }}
      {{- if .Values.network.nonMasqueradeConfigMap }}
      - --non-masquerade-config=/etc/kubenet/masquerade/config
      {{- end }}
      {{- if .Values.cni.takeOver }}
      - --take-over
      - --cni-data-dir=/host/cni/data
      {{- end }}
      - --cni-bin-dir=/host/cni/bin
      - --cni-conf-dir=/host/cni/conf
      - --sysctl-dir=/host/proc/sys
      - --log-format={{ .Values.log.format }}
      {{- with include "kubenet.metricsFlag" (dict "root" . "port" .Values.metrics.agentPort) }}
      {{- . | nindent 6 }}
      {{- end }}
      {{- with .Values.agent.extraArgs }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    env:
      - name: NODE_NAME
        valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
      {{- include "kubenet.env" . | nindent 6 }}
      {{- with .Values.agent.extraEnv }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    ports:
      - {name: health, containerPort: 10276}
      {{- with include "kubenet.metricsPort" (dict "root" . "port" .Values.metrics.agentPort) }}
      {{- . | nindent 6 }}
      {{- end }}
    startupProbe:
      httpGet: {host: 127.0.0.1, port: health, path: /livez}
      periodSeconds: 1
      failureThreshold: 60
    livenessProbe:
      httpGet: {host: 127.0.0.1, port: health, path: /livez}
      periodSeconds: 10
    readinessProbe:
      httpGet: {host: 127.0.0.1, port: health, path: /readyz}
      periodSeconds: 2
    terminationMessagePolicy: FallbackToLogsOnError
    resources: {{- toYaml .Values.agent.resources | nindent 6 }}
    securityContext:
      # Files under the host's folders are root's.
      runAsUser: 0
      runAsGroup: 0
      allowPrivilegeEscalation: false
      # Links, addresses, routes, tables and the sysctls of the network; nothing else of the machine.
      capabilities: {drop: [ALL], add: [NET_ADMIN]}
      readOnlyRootFilesystem: true
      {{- with $platform.seLinuxOptions }}
      seLinuxOptions: {{- toYaml . | nindent 8 }}
      {{- end }}
    volumeMounts:
      - {name: cni-bin, mountPath: /host/cni/bin}
      - {name: cni-conf, mountPath: /host/cni/conf}
      # Not under /proc, where the runtime makes it read-only.
      - {name: sysctl, mountPath: /host/proc/sys/net}
      - {name: run, mountPath: /run/kubenet}
      {{- if .Values.cni.takeOver }}
      - {name: cni-data, mountPath: /host/cni/data, readOnly: true}
      {{- end }}
      {{- if .Values.network.nonMasqueradeConfigMap }}
      # Not a single file of it, which would not follow the ConfigMap.
      - {name: masquerade, mountPath: /etc/kubenet/masquerade, readOnly: true}
      {{- end }}
      {{- if not $cidrs }}
      {{- include "kubenet.tokenMount" . | nindent 6 }}
      {{- end }}
      {{- with .Values.agent.extraVolumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
volumes:
  {{- if .Values.agent.loadBridgeNetfilter }}
  - name: modules
    hostPath: {path: /lib/modules, type: Directory}
  {{- end }}
  - name: cni-bin
    hostPath: {path: {{ $platform.binDir }}, type: DirectoryOrCreate}
  - name: cni-conf
    hostPath: {path: {{ $platform.confDir }}, type: DirectoryOrCreate}
  - name: sysctl
    hostPath: {path: /proc/sys/net, type: Directory}
  - name: run
    hostPath: {path: /run/kubenet, type: DirectoryOrCreate}
  {{- if .Values.cni.takeOver }}
  - name: cni-data
    hostPath: {path: /var/lib/cni, type: DirectoryOrCreate}
  {{- end }}
  {{- with .Values.network.nonMasqueradeConfigMap }}
  - name: masquerade
    configMap: {name: {{ . }}, optional: true}
  {{- end }}
  {{- if not $cidrs }}
  {{- include "kubenet.tokenVolume" . | nindent 2 }}
  {{- end }}
  {{- with .Values.agent.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
