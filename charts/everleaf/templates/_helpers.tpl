{{- define "everleaf.name" -}}
{{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* 50, so that the suffixes of the roles still fit into a name. */}}
{{- define "everleaf.fullname" -}}
{{ default .Release.Name .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "everleaf.namespace" -}}
{{ default .Release.Namespace .Values.namespace }}
{{- end }}

{{- define "everleaf.clusterResourceNamespace" -}}
{{ default (include "everleaf.namespace" .) .Values.clusterResourceNamespace }}
{{- end }}

{{- define "everleaf.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "everleaf.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "everleaf.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ default $.Chart.AppVersion .tag }}{{ end }}
{{- end }}
{{- end }}

{{/* A Deployment's selector cannot be changed: nothing that a value or a version changes belongs here. */}}
{{- define "everleaf.selectorLabels" -}}
app.kubernetes.io/name: {{ include "everleaf.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: controller
{{- end }}

{{- define "everleaf.labels" -}}
{{ include "everleaf.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- if eq .Values.creator "helm" }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}
{{- with .Values.global.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* metadata of an object: include "everleaf.metadata" (list . "-suffix") */}}
{{- define "everleaf.metadata" -}}
{{- $ := index . 0 -}}
name: {{ include "everleaf.fullname" $ }}{{ index . 1 }}
labels:
  {{- include "everleaf.labels" $ | nindent 2 }}
{{- end }}

{{/* The binding of the ClusterRole of the same name to the operator. */}}
{{- define "everleaf.clusterRoleBinding" -}}
{{- $ := index . 0 -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  {{- include "everleaf.metadata" . | nindent 2 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {{ include "everleaf.fullname" $ }}{{ index . 1 }}
subjects:
  - kind: ServiceAccount
    name: {{ include "everleaf.serviceAccountName" $ }}
    namespace: {{ include "everleaf.namespace" $ }}
{{- end }}

{{- define "everleaf.probe" -}}
httpGet:
  path: {{ .path }}
  port: http-healthz
{{ toYaml (omit .probe "enabled") }}
{{- end }}
