{{- define "comfyfleet.selector" -}}
app.kubernetes.io/name: comfyfleet
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "comfyfleet.labels" -}}
{{ include "comfyfleet.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* What every part reads; the caller adds what is its own. As a dict. */}}
{{- define "comfyfleet.config" -}}
{{- $storage := .Values.storage }}
{{- if and (eq $storage.kind "s3") (not $storage.bucket) }}{{ fail "say where outputs go: storage.bucket" }}{{ end }}
{{- if ne $storage.kind "s3" }}{{ fail "pods on several nodes share no folder: storage.kind has to be s3" }}{{ end }}
{{- $redis := dict "url" (.Values.redis.url | default (printf "redis://%s-redis:6379/0" .Release.Name)) }}
{{- toYaml (mergeOverwrite (dict "redis" $redis "storage" $storage) (deepCopy .Values.config)) }}
{{- end }}

{{- define "comfyfleet.container" -}}
securityContext:
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL]}
envFrom:
  - secretRef: {name: {{ .Values.secretName | quote }}}
{{- end }}

{{- define "comfyfleet.pod" -}}
serviceAccountName: {{ .Values.serviceAccountName }}
automountServiceAccountToken: false
# A Service named comfyfleet would put COMFYFLEET_PORT and the like into the environment, which are no settings.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end }}
