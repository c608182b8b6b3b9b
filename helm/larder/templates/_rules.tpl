{{/*
What the operator may do in a namespace with pools, and nothing more. A gateway's Role (pods and models: get, list,
watch) is made of permissions that the operator has itself, so that it needs neither `escalate` nor `bind`.
What a pool owns is written by server-side apply and goes with its owner references, so nothing needs `delete`.
Secrets: it makes and reads those named <pool>-keys. A rule can't tell them apart, neither by label nor, for creation,
by name, so it may not list or watch Secrets at all; watchNamespaces keeps it to some namespaces.
*/}}
{{- define "larder.rules" -}}
- apiGroups: [larder.dev]
  resources: [modelpools, models]
  verbs: [get, list, watch]
- apiGroups: [larder.dev]
  resources: [modelpools/status, models/status]
  verbs: [get, patch, update]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, patch]
- apiGroups: [""]
  resources: [pods/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create, patch]
- apiGroups: [""]
  resources: [services, serviceaccounts]
  verbs: [get, list, watch, create, patch]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch]
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [get, list, watch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [roles, rolebindings]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [events]
  # list: why a pod can't mount its volumes is said in Events only.
  verbs: [list, create, patch]
{{- end -}}
