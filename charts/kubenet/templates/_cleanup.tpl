{{/* Of an object that is made when the chart is uninstalled, and gone when that has succeeded. Takes (dict "root" $ "weight" 0); "wide" of one without a namespace. */}}
{{- define "kubenet.cleanup.metadata" -}}
name: {{ .root.Release.Name }}-cleanup
{{- if not .wide }}
namespace: {{ .root.Release.Namespace }}
{{- end }}
labels: {{- include "kubenet.labels" (dict "root" .root "component" "cleanup") | nindent 2 }}
annotations:
  helm.sh/hook: pre-delete
  helm.sh/hook-weight: {{ .weight | quote }}
  helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
  helm.sh/hook-output-log-policy: hook-succeeded,hook-failed
{{- end }}

{{/* What a pod is that takes kubenet away from its machine. */}}
{{- define "kubenet.cleanup.podSpec" -}}
{{- $platform := include "kubenet.platform" . | fromYaml -}}
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
# Started again until nothing of kubenet is left.
initContainers:
  - name: cleanup
    {{- include "kubenet.cleanup.container" (dict "root" . "more" list) | nindent 4 }}
containers:
  # Keeps agents from coming back until all of them have been ended.
  - name: stay
    {{- include "kubenet.cleanup.container" (dict "root" . "more" (list "--stay")) | nindent 4 }}
volumes:
  - name: cni-bin
    hostPath: {path: {{ $platform.binDir }}, type: DirectoryOrCreate}
  - name: cni-conf
    hostPath: {path: {{ $platform.confDir }}, type: DirectoryOrCreate}
  - name: sysctl
    hostPath: {path: /proc/sys/net, type: Directory}
  - name: run
    hostPath: {path: /run, type: Directory}
{{- end }}

{{/* It takes away what there is. Takes (dict "root" $ "more" (list "--stay")). */}}
{{- define "kubenet.cleanup.container" -}}
{{- $platform := include "kubenet.platform" .root | fromYaml -}}
image: {{ include "kubenet.image" .root }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
command: [kubenet-agent, cleanup]
args:
  - --cni-bin-dir=/host/cni/bin
  - --cni-conf-dir=/host/cni/conf
  - --sysctl-dir=/host/proc/sys
  - --state-dir=/host/run/kubenet
  {{- if .root.Values.uninstall.force }}
  - --force
  {{- end }}
  {{- range .more }}
  - {{ . }}
  {{- end }}
terminationMessagePolicy: FallbackToLogsOnError
resources: {{- toYaml .root.Values.agent.resources | nindent 2 }}
securityContext:
  runAsUser: 0
  runAsGroup: 0
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL], add: [NET_ADMIN]}
  readOnlyRootFilesystem: true
  {{- with $platform.seLinuxOptions }}
  seLinuxOptions: {{- toYaml . | nindent 4 }}
  {{- end }}
volumeMounts:
  - {name: cni-bin, mountPath: /host/cni/bin}
  - {name: cni-conf, mountPath: /host/cni/conf}
  - {name: sysctl, mountPath: /host/proc/sys/net}
  # Not /run/kubenet itself: what is mounted can't be removed.
  - {name: run, mountPath: /host/run}
{{- end }}
