-- Health of an AsgdJob for Argo CD: resource.customizations.health.asgd.dev_AsgdJob in the ConfigMap argocd-cm.
local status = obj.status or {}
if status.observedGeneration ~= obj.metadata.generation then
  return {status = "Progressing", message = "the operator has not looked at it yet"}
end
local found = {}
for _, condition in ipairs(status.conditions or {}) do
  found[condition.type] = condition
end
local function is(kind, value)
  return found[kind] ~= nil and found[kind].status == value
end
local message = status.phase or ""
if status.message ~= nil and status.message ~= "" then
  message = message .. ": " .. status.message
end
local health = "Progressing"
local running = found["Running"] or {}
if is("Complete", "True") or running.reason == "Completing" then
  health = "Healthy"
elseif is("Failed", "True") or is("Accepted", "False") then
  health = "Degraded"
elseif is("Suspended", "True") then
  health = "Suspended"
elseif is("Running", "True") then
  health = "Healthy"
elseif running.reason == "Stalled" then
  health = "Degraded"
end
return {status = health, message = message}
