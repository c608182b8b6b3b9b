-- Looks at a pod's 500 before it is decided whether the request is sent again.
-- A dead python stub is told apart by its message: RETRY_HEADER makes that one retried, and no other, because a model
-- that raises must run once. A body that is not JSON is the request's fault: Triton 2.51 says 500 to it.
function envoy_on_response(handle)
  if handle:headers():get(":status") ~= "500" then return end
  local body = handle:body()
  if not body then return end
  local start = body:getBytes(0, math.min(body:length(), 512))
  if start:find("failed to parse the request JSON", 1, true) then
    handle:headers():replace(":status", "400")
  elseif start:find(DEAD_STUB) then
    handle:headers():replace(RETRY_HEADER, "dead-stub")
  end
end
