{{/* Names, labels and what both programs share. Each takes (dict "root" $ "component" "agent"), or $ alone where no component matters. */}}

{{- define "kubenet.labels" -}}
{{ include "kubenet.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: kubenet
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What never changes: a selector is immutable, so it names no version. */}}
{{- define "kubenet.selector" -}}
app.kubernetes.io/name: kubenet
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "kubenet.image" -}}
{{- with .Values.image.registry }}{{ . }}/{{ end }}{{ .Values.image.repository }}
{{- if .Values.image.digest }}@{{ .Values.image.digest }}
{{- else }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{- define "kubenet.env" -}}
- {name: RUST_LOG, value: {{ .Values.log.level }}}
{{- with .Values.apiServer.host }}
- {name: KUBERNETES_SERVICE_HOST, value: {{ . | quote }}}
- {name: KUBERNETES_SERVICE_PORT, value: {{ $.Values.apiServer.port | quote }}}
{{- end }}
{{- end }}

{{/* The pod's token lives for an hour and names its Node; the default one is not mounted. */}}
{{- define "kubenet.tokenVolume" -}}
- name: token
  projected:
    sources:
      - serviceAccountToken: {path: token, expirationSeconds: 3600}
      - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
      - downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}
{{- end }}

{{- define "kubenet.tokenMount" -}}
- {name: token, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
{{- end }}

{{/* Where a program answers /metrics to others, as a flag. Takes (dict "root" $ "port" 10286). */}}
{{- define "kubenet.metricsFlag" -}}
{{- if .root.Values.metrics.enabled -}}
{{- $any := ternary "[::]" "0.0.0.0" (contains ":" (first .root.Values.network.clusterCIDRs)) -}}
- --metrics-bind-address={{ $any }}:{{ .port }}
{{- end }}
{{- end }}

{{- define "kubenet.metricsPort" -}}
{{- if .root.Values.metrics.enabled -}}
- {name: metrics, containerPort: {{ .port }}}
{{- end }}
{{- end }}

{{/* Where what needs no network of pods may run: also on a machine that has none yet. */}}
{{- define "kubenet.controller.tolerations" -}}
- {key: node.kubernetes.io/not-ready, operator: Exists}
- {key: node.kubernetes.io/network-unavailable, operator: Exists}
- {key: node.cloudprovider.kubernetes.io/uninitialized, operator: Exists}
- {key: node-role.kubernetes.io/control-plane, operator: Exists}
{{- with .Values.controller.tolerations }}
{{ toYaml . }}
{{- end }}
{{- end }}
