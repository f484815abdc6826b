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
