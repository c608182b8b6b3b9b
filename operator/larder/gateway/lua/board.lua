-- The routing board: what the activator wrote about models and pods, and what became of requests, in files that both
-- map into memory. larder.gateway.board describes the format. FOLDER, PORT, SLOTS, PODS and BOUNDS_US are set above.
local ffi = require("ffi")
ffi.cdef [[
  int open(const char *path, int flags, ...);
  int close(int fd);
  long lseek(int fd, long offset, int whence);
  void *mmap(void *address, size_t length, int protection, int flags, int fd, long offset);
  int munmap(void *address, size_t length);
  void *memchr(const void *start, int byte, size_t length);
  int posix_fallocate(int fd, long offset, long length);
  struct larder_time { long seconds; long nanoseconds; };
  int clock_gettime(int clock, struct larder_time *time);
]]
local C = ffi.C
local READ_WRITE, CREATE, EXCLUSIVE, MODE = 2, 64, 128, ffi.new("int", 384)
local READABLE, WRITABLE, SHARED = 1, 2, 1
local FIELDS = 6 + #BOUNDS_US + 1
local EPOCH_US, EPOCHS, WRAP_US = 30e6, 4, 2 ^ 37

local clock = ffi.new("struct larder_time")
local function now_us()
  C.clock_gettime(1, clock)
  return tonumber(clock.seconds) * 1e6 + math.floor(tonumber(clock.nanoseconds) / 1e3)
end

local function map(path, flags, protection, length)
  local fd = C.open(path, flags, MODE)
  if fd < 0 then return nil end
  if length and C.posix_fallocate(fd, 0, length) ~= 0 then
    C.close(fd)
    return nil
  end
  local size = length or tonumber(C.lseek(fd, 0, 2))
  local address = C.mmap(nil, size, protection, SHARED, fd, 0)
  C.close(fd)
  if ffi.cast("intptr_t", address) == -1 then return nil end
  return address, size
end

-- What was read of the board so far. `hosts` has the numbers of the pods by slot: one, or a list of several.
local board, size, at
local slots, hosts, is_ready, addresses, pods = {}, {}, {}, {}, {}
local objective_us, cold_us = ffi.new("double[?]", SLOTS), ffi.new("double[?]", SLOTS)

local function forget()
  slots, hosts, is_ready, addresses, pods = {}, {}, {}, {}, {}
end

local function read_hosts(text)
  local listed = {}
  for number in text:gmatch("%d+") do listed[#listed + 1] = tonumber(number) end
  if #listed < 2 then return listed[1] end
  return listed
end

local READERS = {
  P = function(rest)
    local number, ip = rest:match("^(%d+) (.*)$")
    local address = ip .. ":" .. PORT
    addresses[tonumber(number)], pods[address] = address, tonumber(number)
  end,
  M = function(rest)
    local slot, hot, cold, ready, listed, name = rest:match("^(%d+) (%S+) (%S+) (%d) (%S+) (.*)$")
    slot = tonumber(slot)
    slots[name], hosts[slot], is_ready[slot] = slot, read_hosts(listed), ready == "1"
    objective_us[slot], cold_us[slot] = tonumber(hot), tonumber(cold)
  end,
  D = function(name) slots[name] = nil end,
  X = function()
    C.munmap(board, size)
    board = nil
  end,
}

-- Reads what was added since. A line that is still being written has zero bytes, as all that is not written yet.
local function catch_up()
  while true do
    if not board then
      local address
      address, size = map(FOLDER .. "/board", 0, READABLE)
      if not address then return end
      board, at = ffi.cast("const char *", address), 0
      forget()
    end
    if at >= size or board[at] == 0 then return end
    local stop = C.memchr(board + at, 10, size - at)
    if stop == nil then return end
    local length = ffi.cast("const char *", stop) - (board + at)
    local line = ffi.string(board + at, length)
    if line:find("\0", 1, true) then return end
    at = at + tonumber(length) + 1
    READERS[line:sub(1, 1)](line:sub(3))
  end
end

-- Counters of this worker, one column of SLOTS numbers for each field; nobody else writes them.
local counters
local function open_counters()
  for number = 0, 9999 do
    local path = FOLDER .. "/counters-" .. number
    local address = map(path, READ_WRITE + CREATE + EXCLUSIVE, READABLE + WRITABLE, FIELDS * SLOTS * 8)
    if address then return ffi.cast("double *", address) end
  end
  return ffi.new("double[?]", FIELDS * SLOTS)
end

-- Requests that this worker has sent to each pod and that are not answered, by when they began: what a client gave up
-- is never answered and leaves the sum with its epoch.
local sent = ffi.new("int32_t[?]", EPOCHS * PODS)
local epoch = 0
local function turn_epoch(now)
  local present = math.floor(now / EPOCH_US)
  if present > epoch then
    for passed = math.max(epoch + 1, present - EPOCHS + 1), present do
      ffi.fill(sent + (passed % EPOCHS) * PODS, PODS * 4)
    end
    epoch = present
  end
end

local function outstanding(pod)
  return sent[(epoch % EPOCHS) * PODS + pod] + sent[((epoch - 1) % EPOCHS) * PODS + pod]
end

local turn = 0
local function pick(listed)
  if type(listed) ~= "table" then return listed end
  turn = turn + 1
  local best, least
  for step = 1, #listed do
    local pod = listed[(turn + step) % #listed + 1]
    local count = outstanding(pod)
    if not least or count < least then best, least = pod, count end
  end
  return best
end

-- Sends a request on its way: to a pod, where one has the model, else the activator gets it.
local function begin(handle, name)
  catch_up()
  local slot = slots[name]
  if not slot then return end
  local now = now_us()
  turn_epoch(now)
  local metadata, pod = handle:streamInfo():dynamicMetadata(), pick(hosts[slot])
  if pod then
    local cell = (epoch % EPOCHS) * PODS + pod
    sent[cell] = sent[cell] + 1
    metadata:set("larder", "host", addresses[pod])
  end
  metadata:set("larder", "began", ((now % WRAP_US) * 2 + (is_ready[slot] and 0 or 1)) * SLOTS + slot)
end

local function add(field, slot, amount)
  local cell = field * SLOTS + slot
  counters[cell] = counters[cell] + amount
end

local OK, CLIENT_ERROR, SERVER_ERROR, MET, MISSED, SUM, FIRST_BUCKET = 0, 1, 2, 3, 4, 5, 6

local function left(pod, now, elapsed)
  local began = math.floor((now - elapsed) / EPOCH_US)
  if epoch - began >= EPOCHS then return end
  local cell = (began % EPOCHS) * PODS + pod
  if sent[cell] > 0 then sent[cell] = sent[cell] - 1 end
end

-- Counts what became of a request. A client's own error is neither met nor missed.
local function finish(handle, class)
  local noted = handle:streamInfo():dynamicMetadata():get("larder")
  if not noted then return end
  local slot = noted.began % SLOTS
  local rest = (noted.began - slot) / SLOTS
  local was_cold = rest % 2
  local now = now_us()
  turn_epoch(now)
  local elapsed = (now - (rest - was_cold) / 2) % WRAP_US
  local pod = noted.host and pods[noted.host]
  if pod then left(pod, now, elapsed) end
  counters = counters or open_counters()
  add(class, slot, 1)
  local bucket = 1
  while BOUNDS_US[bucket] and elapsed > BOUNDS_US[bucket] do bucket = bucket + 1 end
  add(FIRST_BUCKET + bucket - 1, slot, 1)
  add(SUM, slot, elapsed / 1e6)
  local objective = was_cold == 1 and cold_us[slot] or objective_us[slot]
  if class == CLIENT_ERROR or objective == 0 then return end
  add(class == OK and elapsed <= objective and MET or MISSED, slot, 1)
end
