{{/* What differs between platforms: the runtime's two folders, and the SELinux type that may write them. */}}
{{- define "kubenet.platforms" -}}
default: {binDir: /opt/cni/bin, confDir: /etc/cni/net.d}
k3s: {binDir: /var/lib/rancher/k3s/data/cni, confDir: /var/lib/rancher/k3s/agent/etc/cni/net.d}
microk8s: {binDir: /var/snap/microk8s/current/opt/cni/bin, confDir: /var/snap/microk8s/current/args/cni-network}
bottlerocket: {seLinuxOptions: {type: super_t}}
openshift: {binDir: /var/lib/cni/bin, confDir: /var/run/multus/cni/net.d, seLinuxOptions: {type: spc_t}}
{{- end }}

{{/* The platform's binDir, confDir and seLinuxOptions as YAML, with what the values say instead. */}}
{{- define "kubenet.platform" -}}
{{- $platforms := include "kubenet.platforms" . | fromYaml }}
{{- $said := dict }}
{{- with .Values.cni.binDir }}{{ $_ := set $said "binDir" . }}{{ end }}
{{- with .Values.cni.confDir }}{{ $_ := set $said "confDir" . }}{{ end }}
{{- with .Values.agent.seLinuxOptions }}{{ $_ := set $said "seLinuxOptions" . }}{{ end }}
{{- $known := get $platforms .Values.platform | default dict }}
{{- merge $said $known $platforms.default | toYaml }}
{{- end }}
