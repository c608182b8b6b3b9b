-- Finds the model in a V2 path, and counts how its requests end.
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
      begin(handle, unescape(name))
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

function envoy_on_response(handle)
  local status = handle:headers():get(":status")
  if status < "400" then
    finish(handle, OK)
  else
    finish(handle, status < "500" and CLIENT_ERROR or SERVER_ERROR)
  end
end
