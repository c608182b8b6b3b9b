-- Finds the model of a gRPC call: field 1 of each of these messages is its name. Whatever is unusual (compressed,
-- field 1 beyond the first bytes, malformed) gets no model and so goes to the activator, which looks closer.
local METHODS = {
  ["/inference.GRPCInferenceService/ModelInfer"] = true,
  ["/inference.GRPCInferenceService/ModelReady"] = true,
  ["/inference.GRPCInferenceService/ModelMetadata"] = true,
  ["/inference.GRPCInferenceService/ModelConfig"] = true,
  ["/inference.GRPCInferenceService/ModelStatistics"] = true,
}
local SCANNED_BYTES = 4096

local function varint(bytes, at)
  local value, scale = 0, 1
  for _ = 1, 10 do
    local byte = bytes:byte(at)
    if not byte then return nil end
    at = at + 1
    value = value + (byte % 128) * scale
    if byte < 128 then return value, at end
    scale = scale * 128
  end
  return nil
end

local function skip(bytes, at, wire)
  if wire == 0 then
    local _, after = varint(bytes, at)
    return after
  elseif wire == 1 then
    return at + 8
  elseif wire == 2 then
    local length, after = varint(bytes, at)
    return length and after + length
  elseif wire == 5 then
    return at + 4
  end
  return nil
end

local function model(bytes)
  if bytes:byte(1) ~= 0 then return nil end
  local at = 6
  while at and at <= #bytes do
    local tag
    tag, at = varint(bytes, at)
    if not tag then return nil end
    if tag == 10 then
      local length, start = varint(bytes, at)
      if not length or length == 0 or start + length - 1 > #bytes then return nil end
      return bytes:sub(start, start + length - 1)
    end
    at = skip(bytes, at, tag % 8)
  end
  return nil
end

function envoy_on_request(handle)
  if not METHODS[handle:headers():get(":path")] then return end
  local body = handle:body()
  if not body then return end
  local name = model(body:getBytes(0, math.min(body:length(), SCANNED_BYTES)))
  if name then begin(handle, name) end
end

-- A client's own errors: CANCELLED, INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED,
-- FAILED_PRECONDITION, OUT_OF_RANGE, UNIMPLEMENTED, UNAUTHENTICATED. No status yet is a message to come.
local CLIENT_ERRORS = {
  ["1"] = true, ["3"] = true, ["5"] = true, ["6"] = true, ["7"] = true, ["9"] = true, ["11"] = true, ["12"] = true,
  ["16"] = true,
}

function envoy_on_response(handle)
  local headers = handle:headers()
  local status = headers:get("grpc-status")
  if CLIENT_ERRORS[status] then
    finish(handle, CLIENT_ERROR)
  else
    local answered = status == "0" or (not status and headers:get(":status") == "200")
    finish(handle, answered and OK or SERVER_ERROR)
  end
end
