{{/* What the objects of `helm test` share. Each takes (dict "root" $ "component" "check-server"). */}}

{{/* Made for a test and gone with it; of one that failed the next one clears away what is left. */}}
{{- define "kubenet.check.hook" -}}
helm.sh/hook: test
helm.sh/hook-weight: {{ .weight | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{- define "kubenet.check.metadata" -}}
name: {{ .root.Release.Name }}-{{ .component }}
namespace: {{ .root.Release.Namespace }}
labels: {{- include "kubenet.labels" . | nindent 2 }}
annotations: {{- include "kubenet.check.hook" . | nindent 2 }}
{{- end }}

{{- define "kubenet.check.container" -}}
image: {{ include "kubenet.image" .root }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
command: [kubenet-check]
resources: {{- toYaml .root.Values.check.resources | nindent 2 }}
terminationMessagePolicy: FallbackToLogsOnError
securityContext:
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL]}
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* A pod of every machine that answers, and asks when it is told to. */}}
{{- define "kubenet.check.servers" -}}
apiVersion: apps/v1
kind: DaemonSet
metadata: {{- include "kubenet.check.metadata" . | nindent 2 }}
spec:
  selector:
    matchLabels: {{- include "kubenet.selector" . | nindent 6 }}
  updateStrategy:
    type: RollingUpdate
    rollingUpdate: {maxUnavailable: 100%}
  template:
    metadata:
      labels: {{- include "kubenet.labels" . | nindent 8 }}
    spec:
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 1
      hostNetwork: {{ eq .component "check-machine" }}
      nodeSelector: {kubernetes.io/os: linux}
      tolerations:
        - {operator: Exists}
      {{- with .root.Values.imagePullSecrets }}
      imagePullSecrets: {{- toYaml . | nindent 8 }}
      {{- end }}
      containers:
        - name: check
          {{- include "kubenet.check.container" . | nindent 10 }}
          args: [serve, --port={{ .port }}]
          env:
            - name: POD_NAME
              valueFrom: {fieldRef: {fieldPath: metadata.name}}
          {{- if eq .component "check-server" }}
          ports:
            - {containerPort: {{ .port }}, hostPort: {{ .root.Values.check.hostPort }}, protocol: TCP}
            - {containerPort: {{ .port }}, hostPort: {{ .root.Values.check.hostPort }}, protocol: UDP}
          {{- end }}
          readinessProbe:
            httpGet: {port: {{ .port }}, path: /}
            periodSeconds: 1
{{- end }}

{{/* A way to the servers, by ClusterIP. */}}
{{- define "kubenet.check.service" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "kubenet.check.metadata" (set . "component" .name) | nindent 2 }}
spec:
  ipFamilyPolicy: PreferDualStack
  internalTrafficPolicy: {{ .policy }}
  selector: {{- include "kubenet.selector" (set . "component" "check-server") | nindent 4 }}
  ports:
    - {name: tcp, port: 80, targetPort: 8080, protocol: TCP}
    - {name: udp, port: 80, targetPort: 8080, protocol: UDP}
{{- end }}
