-- Put before _lib.lua: who pays for which second of which worker. From its registration until it is down, every
-- millisecond of a worker is booked once: to a run when that ends, else as unused in the state that the worker is in.
-- `paid` of a worker: until when that is done; `owed`: what runs were charged since, which is no unused time.
local LEDGER = KEYS[1] .. 'ledger:'
local HOUR = 3600000
local LONGEST = 31 * 24 * HOUR -- more at once is a clock that jumped, as of a machine that began in 1970
local UNUSED = { ready = 'idle' } -- other states by their names
local ENDS = { fail = 'failed', lose = 'lost', cancel = 'canceled' }

-- Adds the time to the hours that it fell in, and answers these entries. `who`: workflow, version, tenant, pool, gpu,
-- rate, worker.
local function book(who, kind, from, to)
  local entries = {}
  from = math.max(from, to - LONGEST)
  if to > from then
    local total = cjson.encode({ who[1], who[4], who[5], who[6], kind })
    if redis.call('HLEN', LEDGER .. 'total') >= TOTAL_ROWS and redis.call('HEXISTS', LEDGER .. 'total', total) == 0 then
      total = cjson.encode({ who[1] ~= '' and '(others)' or '', who[4], who[5], who[6], kind })
    end
    redis.call('HINCRBY', LEDGER .. 'total', total, to - from)
  end
  while from < to do
    local hour = math.floor(from / HOUR)
    local till = math.min(to, (hour + 1) * HOUR)
    local key = LEDGER .. string.format('%d', hour)
    local field = cjson.encode({ who[1], who[2], who[3], who[4], who[5], who[6], who[7], kind })
    local rows = redis.call('HLEN', key)
    if rows >= LEDGER_ROWS and redis.call('HEXISTS', key, field) == 0 then
      field = cjson.encode({ who[1], '', '(others)', who[4], who[5], who[6], '(others)', kind })
    end
    redis.call('HINCRBY', key, field, till - from)
    if rows == 0 then redis.call('PEXPIRE', key, LEDGER_TTL) end
    entries[#entries + 1] = { key, field, till - from }
    from = till
  end
  return entries
end

-- Charges a run for what it had of its worker, and keeps what was booked where it may have to be booked anew: `kept`.
-- `parts`: { kind, ms } of what comes first in it; the rest is `kind`.
local function charge(run, entry, worker, from, to, kind, parts, kept)
  local at = redis.call('HMGET', KEYS[1] .. 'worker:' .. worker, 'up', 'pool', 'gpu', 'rate')
  if not at[1] then return end -- it is down, and was charged to the runs that it had then
  from = math.max(from, tonumber(at[1]))
  to = math.max(from, to)
  redis.call('HINCRBY', KEYS[1] .. 'worker:' .. worker, 'owed', to - from)
  local told = cjson.decode(entry)
  local workflow, version = string.match(told[3], '^(.*)@(%d+)$')
  local who = { workflow or '(graph)', version or '', told[6], at[2], at[3], at[4], worker }
  local key = KEYS[1] .. 'run:' .. run
  local was = redis.call('HMGET', key, 'charged', 'booked')
  local charged = to - from + (was[1] or 0)
  redis.call('HSET', key, 'charged', string.format('%d', charged))
  if at[4] ~= '' then redis.call('HSET', key, 'cost', charged * at[4] / HOUR) end
  local booked = cjson.decode(was[2] or '[]')
  for _, part in ipairs(parts) do
    local till = math.min(to, from + math.floor(part[2]))
    for _, it in ipairs(book(who, part[1], from, till)) do booked[#booked + 1] = it end
    from = till
  end
  for _, it in ipairs(book(who, kind, from, to)) do booked[#booked + 1] = it end
  if kept then redis.call('HSET', key, 'booked', cjson.encode(booked)) end
end

-- What a run was charged for turned out to be something else.
local function rebook(run, kind)
  local key = KEYS[1] .. 'run:' .. run
  local booked = redis.call('HGET', key, 'booked')
  if not booked then return end
  booked = cjson.decode(booked)
  for _, it in ipairs(booked) do
    if redis.call('EXISTS', it[1]) == 1 then
      if redis.call('HINCRBY', it[1], it[2], -it[3]) <= 0 then redis.call('HDEL', it[1], it[2]) end
      local row = cjson.decode(it[2])
      row[8] = kind
      it[2] = cjson.encode(row)
      redis.call('HINCRBY', it[1], it[2], it[3])
    end
  end
  redis.call('HSET', key, 'booked', cjson.encode(booked))
end

-- When the first of what a worker executes began; now, if nothing does.
local function busy_since(worker, now)
  for _, run in ipairs(redis.call('ZRANGE', KEYS[1] .. 'worker:' .. worker .. ':runs', 0, -1)) do
    now = math.min(now, tonumber(redis.call('HGET', KEYS[1] .. 'run:' .. run, 'started') or now))
  end
  return now
end

-- Books the time up to `till` that no run of the worker was charged.
local function settle(worker, till)
  local key = KEYS[1] .. 'worker:' .. worker
  local at = redis.call('HMGET', key, 'paid', 'owed', 'state', 'pool', 'gpu', 'rate')
  if not at[1] or till <= tonumber(at[1]) then return end
  local unused = till - at[1] - at[2]
  if unused > 0 then
    book({ '', '', '', at[4], at[5], at[6], worker }, UNUSED[at[3]] or at[3], till - unused, till)
  end
  redis.call('HSET', key, 'paid', string.format('%d', till), 'owed', string.format('%d', math.max(0, -unused)))
end

-- A worker comes up: from now on its time is booked.
local function open(worker, now)
  local at = string.format('%d', now)
  redis.call('HSET', KEYS[1] .. 'worker:' .. worker, 'up', at, 'paid', at, 'owed', 0)
end

-- A worker goes down: nothing is booked from now on. What executes there is lost, unless it is found again.
local function close(worker, now)
  local key = KEYS[1] .. 'worker:' .. worker
  for _, run in ipairs(redis.call('ZRANGE', key .. ':runs', 0, -1)) do
    local at = redis.call('HMGET', KEYS[1] .. 'run:' .. run, 'started', 'entry')
    if at[1] then charge(run, at[2], worker, tonumber(at[1]), now, 'lost', {}, true) end
  end
  settle(worker, now)
  redis.call('HDEL', key, 'up', 'paid', 'owed')
end
