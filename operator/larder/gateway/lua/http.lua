-- Finds the model in a V2 path and leaves it where the subset load balancer looks for it.
-- Only calls that a Triton pod may answer get a model; everything else is the activator's to answer or refuse.
-- BODY_LIMIT is set above, in bytes.
local OPERATIONS = {
  [""] = true, ["/infer"] = true, ["/ready"] = true, ["/config"] = true, ["/stats"] = true,
  ["/generate"] = true, ["/generate_stream"] = true,
}

local function unescape(text)
  if not text:find("%", 1, true) then return text end
  return (text:gsub("%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end))
end

local function refuse(handle)
  handle:respond(
    {[":status"] = "413", ["content-type"] = "application/json"},
    '{"error":"the request body is over this pool\'s limit of ' .. BODY_LIMIT .. ' bytes (spec.gateway.bodyLimit)"}')
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local name, rest = headers:get(":path"):match("^/v2/models/([^/?]+)([^?]*)")
  if name and not (name == "stats" and rest == "") then
    local operation = rest:match("^/versions/%d+(.*)$") or rest
    if OPERATIONS[operation] then
      handle:streamInfo():dynamicMetadata():set("envoy.lb", "model", unescape(name))
    end
  end
  local length = tonumber(headers:get("content-length") or "")
  if length then
    if length > BODY_LIMIT then refuse(handle) end
  elseif headers:get(":method") == "POST" then
    -- A body of unknown length is buffered here, so that Envoy answers 413 for it instead of cutting it off.
    handle:body()
  end
end

-- Triton 2.51 answers 500 to a body that is not JSON: it is the request that is wrong, not the server.
function envoy_on_response(handle)
  if handle:headers():get(":status") ~= "500" then return end
  local body = handle:body()
  if not body then return end
  local start = body:getBytes(0, math.min(body:length(), 128))
  if start:find("failed to parse the request JSON", 1, true) then handle:headers():replace(":status", "400") end
end
