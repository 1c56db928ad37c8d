{{- define "asgd.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 45 | trimSuffix "-" }}
{{- end }}

{{- define "asgd.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride }}
{{- else }}
{{- $name := include "asgd.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 45 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 45 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{/* Name of what stands in no namespace: two releases of one name in two namespaces must not share it. */}}
{{- define "asgd.clusterName" -}}
{{- printf "%s-%s" (include "asgd.fullname" .) .Release.Namespace }}
{{- end }}

{{- define "asgd.selectorLabels" -}}
app.kubernetes.io/name: {{ include "asgd.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "asgd.labels" -}}
app.kubernetes.io/name: {{ include "asgd.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: asgd
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "asgd.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{- define "asgd.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "asgd.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "asgd.config" -}}
jobs:
  serverImage: {{ .Values.jobs.serverImage | default (include "asgd.image" .) | quote }}
  trainerImage: {{ .Values.jobs.trainerImage | default (printf "asgd-trainer:%s" .Chart.AppVersion) | quote }}
  imagePullPolicy: {{ .Values.jobs.imagePullPolicy }}
  imagePullSecrets: {{ toJson .Values.jobs.imagePullSecrets }}
  operator:
    namespaceLabels: {kubernetes.io/metadata.name: {{ .Release.Namespace | quote }}}
    podLabels:
      {{- include "asgd.selectorLabels" . | nindent 6 }}
  prometheus: {{ toJson .Values.jobs.prometheus }}
  page: {{ .Values.jobs.page.enabled }}
  tracing: {{ toJson .Values.tracing }}
  podMonitor: {{ .Values.jobs.podMonitor.enabled }}
  podMonitorLabels: {{ toJson .Values.jobs.podMonitor.labels }}
watch: {{ toJson .Values.watch }}
leaderElection:
  enabled: {{ .Values.leaderElection.enabled }}
  namespace: {{ .Release.Namespace | quote }}
  name: {{ include "asgd.fullname" . }}
logging: {{ toJson .Values.logging }}
queue: {{ toJson .Values.queue }}
port: {{ .Values.port }}
{{- end }}

{{- define "asgd.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "asgd.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* What the operator may do in a namespace that it watches. Secrets are created and never read. */}}
{{- define "asgd.jobRules" -}}
- apiGroups: [asgd.dev]
  resources: [asgdjobs]
  verbs: [get, list, watch, delete]
- apiGroups: [asgd.dev]
  resources: [asgdjobs/status]
  verbs: [patch]
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get]
- apiGroups: [""]
  resources: [pods]
  # Patched by an annotation of shard 0's pod, at which its kubelet reads the live fields at once instead of within a minute.
  verbs: [get, list, watch, delete, patch]
# To say of a pod whose node is lost that it failed, and of one that somebody deletes that its end costs no budget.
- apiGroups: [""]
  resources: [pods/status]
  verbs: [patch]
# Listed by the UID of a child that does not come about: only events tell of a quota or a volume that is not there.
- apiGroups: [""]
  resources: [events]
  verbs: [create, list]
# Listed by the UID of a Job that waits: only Kueue's Workload says what its queue is short of.
- apiGroups: [kueue.x-k8s.io]
  resources: [workloads]
  verbs: [list]
{{- if .Values.jobs.podMonitor.enabled }}
- apiGroups: [monitoring.coreos.com]
  resources: [podmonitors]
  verbs: [get, create, patch]
{{- end }}
{{- if .Values.jobs.podGroups.enabled }}
- apiGroups: [scheduling.x-k8s.io, scheduling.volcano.sh]
  resources: [podgroups]
  verbs: [get, create, patch]
{{- end }}
{{- end }}

{{- define "asgd.subjects" -}}
- kind: ServiceAccount
  name: {{ include "asgd.serviceAccount" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}
