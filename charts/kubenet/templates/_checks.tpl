{{/* Values that the schema allows and that cannot work: each with what to do instead. */}}
{{- define "kubenet.checks" -}}
{{- $families := list }}
{{- if not .Values.network.clusterCIDRs }}
{{- fail "network.clusterCIDRs: name one range for each IP family of the pods, as in [10.244.0.0/16]" }}
{{- end }}
{{- range .Values.network.clusterCIDRs }}
{{- $family := ternary "ipv6" "ipv4" (contains ":" .) }}
{{- if has $family $families }}
{{- fail (printf "network.clusterCIDRs: %s is a second range of %s; pods have one of each family" . $family) }}
{{- end }}
{{- $families = append $families $family }}
{{- $length := splitList "/" . | last | atoi }}
{{- $mask := get $.Values.network.nodeMaskSize $family | int }}
{{- if lt $mask $length }}
{{- fail (printf "network.nodeMaskSize.%s: a /%d for each Node does not fit into %s" $family $mask .) }}
{{- end }}
{{- if and (eq $family "ipv6") (gt (sub $mask $length) 16) }}
{{- fail (printf "network.nodeMaskSize.ipv6: %s has more than 65536 ranges of /%d; give each Node a larger one" . $mask) }}
{{- end }}
{{- end }}
{{- $services := list }}
{{- range .Values.network.serviceCIDRs }}
{{- $family := ternary "ipv6" "ipv4" (contains ":" .) }}
{{- if has $family $services }}
{{- fail (printf "network.serviceCIDRs: %s is a second range of %s" . $family) }}
{{- end }}
{{- $services = append $services $family }}
{{- if has . $.Values.network.clusterCIDRs }}
{{- fail (printf "network.serviceCIDRs: %s is the pods' range too" .) }}
{{- end }}
{{- end }}
{{- if and (has "ipv6" $families) (ne (int .Values.network.mtu) 0) (lt (int .Values.network.mtu) 1280) }}
{{- fail (printf "network.mtu: IPv6 needs at least 1280 bytes, not %d" (int .Values.network.mtu)) }}
{{- end }}
{{- if and (ne .Values.controller.releaseDelay "0s") (ne .Values.controller.fence "claims") }}
{{- fail "controller.releaseDelay: needs controller.fence=claims; it is the claims that remember" }}
{{- end }}
{{- with .Values.staticPod.podCIDRs }}
{{- range $name, $value := dict "imagePullSecrets" $.Values.imagePullSecrets "network.nonMasqueradeConfigMap" $.Values.network.nonMasqueradeConfigMap }}
{{- if $value }}
{{- fail (printf "%s: a static pod can't use objects of the API; leave it empty with staticPod.podCIDRs" $name) }}
{{- end }}
{{- end }}
{{- if ne $.Values.agent.networkPlugin "kubenet" }}
{{- fail "agent.networkPlugin: with staticPod.podCIDRs the agent makes cbr0 and is kubenet" }}
{{- end }}
{{- end }}
{{- include "kubenet.checkFlags" (dict "values" .Values.controller.extraArgs "of" "controller" "taken" (list "cluster-cidr" "service-cluster-ip-range" "node-cidr-mask-size" "node-cidr-mask-size-ipv4" "node-cidr-mask-size-ipv6" "leader-elect-resource-namespace" "fence" "release-delay" "log-format" "metrics-bind-address")) }}
{{- include "kubenet.checkFlags" (dict "values" .Values.agent.extraArgs "of" "agent" "taken" (list "cluster-cidr" "pod-cidr" "network-plugin" "service-cluster-ip-range" "network-plugin-mtu" "hairpin-mode" "loopback-host-ports" "routing" "non-masquerade-cidr" "non-masquerade-config" "cni-bin-dir" "cni-conf-dir" "cni-data-dir" "take-over" "sysctl-dir" "log-format" "node-name" "metrics-bind-address")) }}
{{- end }}

{{- define "kubenet.checkFlags" -}}
{{- range .values }}
{{- $flag := . | trimPrefix "--" | splitList "=" | first }}
{{- if has $flag $.taken }}
{{- fail (printf "%s.extraArgs: --%s is set by the chart from a value of its own" $.of $flag) }}
{{- end }}
{{- end }}
{{- end }}
