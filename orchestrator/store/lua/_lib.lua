-- Put before every script: the transition tables (rendered from orchestrator/domain), the clock, and the few steps
-- that several transitions share. KEYS[1] is the fleet's prefix; all other key names are built from it.
local P = KEYS[1]

local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function ms(x) return string.format('%d', x) end

-- Tells the dispatcher. The stream's ids are the sequence numbers, so that a reader sees a gap.
local function feed(kind, ...)
  local seq = redis.call('INCR', P .. 'feed:seq')
  redis.call('XADD', P .. 'feed', 'MAXLEN', '~', FEED_LENGTH, ms(seq) .. '-0', 'kind', kind, ...)
  return seq
end

-- Tells whoever watches a job, now or on resuming.
local function tell(job, kind, data)
  local key = P .. 'job:' .. job .. ':events'
  local id = redis.call('XADD', key, 'MAXLEN', '~', EVENTS_LENGTH, '*', 't', kind, 'd', data)
  redis.call('PEXPIRE', key, EVENTS_TTL)
  redis.call('PUBLISH', P .. 'watch:' .. job, id .. ' ' .. kind .. ' ' .. data)
end

local function mail(worker, kind, run, files)
  local agent = redis.call('HGET', P .. 'worker:' .. worker, 'agent')
  if not agent then return end
  local key = P .. 'mail:' .. agent
  redis.call('XADD', key, 'MAXLEN', '~', MAIL_LENGTH, '*', 'kind', kind, 'worker', worker, 'run', run,
    'files', files or '')
  redis.call('PEXPIRE', key, MAIL_TTL)
end

-- Lists a job among those of an owner, and among those of them that have not ended.
local function own(owner, job, created)
  redis.call('ZADD', P .. 'jobs:' .. owner, created, job)
  redis.call('ZADD', P .. 'active:' .. owner, created, job)
end

-- The job's next status, or nil if the table has none.
local function job_move(job, event, now)
  local key = P .. 'job:' .. job
  local at = redis.call('HMGET', key, 'status', 'created', 'client', 'peer', 'workflow')
  local to = JOB[tostring(at[1]) .. ' ' .. event]
  if not to or to == at[1] then return to end
  redis.call('HSET', key, 'status', to)
  redis.call('ZREM', P .. 'jobs:status:' .. at[1], job)
  redis.call('ZADD', P .. 'jobs:status:' .. to, at[2], job)
  if event == 'start' then redis.call('HSETNX', key, 'started', ms(now)) end
  if JOB_ENDS[to] then
    redis.call('HSET', key, 'completed', ms(now))
    local ended = (at[5] or '(graph)') .. ' ' .. to
    if redis.call('HLEN', P .. 'count:ended') >= TOTAL_ROWS and redis.call('HEXISTS', P .. 'count:ended', ended) == 0 then
      ended = '(others) ' .. to
    end
    redis.call('HINCRBY', P .. 'count:ended', ended, 1)
    redis.call('HDEL', key, 'shown', 'sealed')
    redis.call('ZADD', P .. 'ended', ms(now), job)
    redis.call('ZREM', P .. 'deadlines', job)
    redis.call('ZREM', P .. 'unjudged', job)
    redis.call('ZREM', P .. 'reviews', job)
    if at[3] then redis.call('ZREM', P .. 'active:client:' .. at[3], job) end
    if at[4] then
      redis.call('ZREM', P .. 'active:peer:' .. at[4], job)
      redis.call('ZREM', P .. 'active:everyone', job)
    end
  end
  tell(job, 'status', '{"status":"' .. to .. '"}')
  if at[3] then tell(job .. ':comfy', 'status', '{"status":"' .. to .. '"}') end
  return to
end

local function enqueue(run, job, attempt, pool, priority, arrived, entry, avoid, vram)
  redis.call('ZADD', P .. 'queue:' .. pool .. ' ' .. priority, arrived, run)
  redis.call('HINCRBY', P .. 'queued', pool .. ' ' .. priority, 1)
  redis.call('INCR', P .. 'queued:total')
  feed('queued', 'run', run, 'job', job, 'attempt', attempt, 'at', arrived, 'avoid', avoid, 'vram', vram,
    'entry', entry)
end

local function dequeue(run, pool, priority)
  local field = pool .. ' ' .. priority
  if redis.call('ZREM', P .. 'queue:' .. field, run) == 1 then
    if redis.call('HINCRBY', P .. 'queued', field, -1) <= 0 then redis.call('HDEL', P .. 'queued', field) end
    redis.call('DECR', P .. 'queued:total')
  end
end

-- The run as its holder claims it, or nil and the state it really has: this is the fence.
local function held(run, attempt, worker)
  local at = redis.call('HMGET', P .. 'run:' .. run, 'state', 'attempt', 'worker', 'job', 'started', 'queued')
  if at[2] ~= attempt or (at[3] or '') ~= worker then return nil, at[1] or 'gone' end
  return { state = at[1], job = at[4], started = at[5], queued = at[6] }, at[1]
end

-- Somebody asked for a transition that the table does not have: a bug of ours, told with what went before.
local function illegal(what, job)
  local story = {}
  for _, entry in ipairs(redis.call('XREVRANGE', P .. 'job:' .. job .. ':events', '+', '-', 'COUNT', 10)) do
    table.insert(story, 1, entry[2][2] .. ' ' .. string.sub(entry[2][4], 1, 100))
  end
  error('illegal transition: ' .. what .. '; the last events of job ' .. job .. ': ' .. table.concat(story, ', '))
end

-- Ends a run: its state, why, and off its worker or out of the queue. `data` is JSON for the dispatcher.
local function run_end(run, event, now, outcome, data)
  local key = P .. 'run:' .. run
  local at = redis.call('HMGET', key, 'state', 'worker', 'job', 'attempt', 'entry', 'pool', 'priority', 'arrived', 'started')
  local to = RUN[tostring(at[1]) .. ' ' .. event]
  if not to then illegal('run ' .. run .. ' is ' .. tostring(at[1]) .. ', which has no ' .. event, tostring(at[3])) end
  redis.call('HSET', key, 'state', to, 'ended', ms(now))
  if outcome ~= '' then redis.call('HSET', key, 'outcome', outcome) end
  if at[1] == 'queued' then
    dequeue(run, at[6], at[7])
    feed('gone', 'run', run)
  else
    if at[9] and ENDS[event] then
      local unwanted = redis.call('HGET', P .. 'job:' .. at[3], 'status') == 'succeeded' -- others of it are good
      charge(run, at[5], at[2], tonumber(at[9]), now, unwanted and 'discarded' or ENDS[event], {})
    end
    redis.call('ZREM', P .. 'worker:' .. at[2] .. ':runs', run)
    feed('ended', 'run', run, 'worker', at[2], 'job', at[3], 'attempt', at[4], 'at', at[8], 'state', to, 'entry', at[5], 'data', data)
  end
  return to
end

-- What a run of a workflow took, for its profile. `nodes`: JSON.
local function sample(entry, worker, execute_ms, load_s, nodes)
  local profile = cjson.decode(entry)[3]
  if not string.find(profile, '@', 1, true) then return end
  local gpu = cjson.encode(redis.call('HGET', P .. 'worker:' .. worker, 'gpu') or '')
  local key = P .. 'profile:' .. profile
  local length = redis.call('LPUSH', key, string.format('{"execute_s":%.3f,"load_s":%.3f,"gpu":%s,"nodes":%s}', execute_ms / 1000,
    load_s, gpu, nodes))
  if length > 1 and length % SAMPLES_TIDY ~= 0 then return end -- now and then is often enough
  redis.call('LTRIM', key, 0, SAMPLES - 1)
  redis.call('PEXPIRE', key, SAMPLES_TTL)
end

-- The runs of a job that have not ended, each as { id, state, worker }.
local function live_runs(job)
  local live = {}
  for run in string.gmatch(redis.call('HGET', P .. 'job:' .. job, 'runs') or '', '%S+') do
    local at = redis.call('HMGET', P .. 'run:' .. run, 'state', 'worker')
    if at[1] and not RUN_ENDS[at[1]] then live[#live + 1] = { run, at[1], at[2] } end
  end
  return live
end

-- Nothing of a job is wanted any more: what waits goes, and who has the rest is told. Answers how many they are.
local function stop_runs(job, now, why)
  local held = 0
  for _, it in ipairs(live_runs(job)) do
    if it[2] == 'queued' then
      run_end(it[1], 'cancel', now, why, '{}')
    else
      mail(it[3], 'cancel', it[1])
      held = held + 1
    end
  end
  return held
end

-- A candidate of a job that has a gate has ended: somebody is to judge the job.
local function candidate_ended(job, now)
  redis.call('HINCRBY', P .. 'job:' .. job, 'ended', 1)
  redis.call('ZADD', P .. 'unjudged', ms(now), job)
  redis.call('XADD', P .. 'judge', 'MAXLEN', '~', JUDGE_LENGTH, '*', 'job', job)
end

-- What a run was for cannot succeed any more: its job, or a candidate of it.
local function give_up(job, now, err)
  if redis.call('HEXISTS', P .. 'job:' .. job, 'slots') == 1 then return candidate_ended(job, now) end
  redis.call('HSET', P .. 'job:' .. job, 'error', err)
  job_move(job, 'fail', now)
end

-- A run takes its place in the queue: the first attempt of a slot, or the next one.
local function new_run(run, job, slot, attempt, now, arrived, entry, pool, priority, avoid, vram, patch)
  redis.call('HSET', P .. 'run:' .. run, 'job', job, 'slot', slot, 'attempt', attempt, 'state', 'queued',
    'queued', ms(now), 'arrived', arrived, 'entry', entry, 'pool', pool, 'priority', priority, 'avoid', avoid,
    'vram', vram, 'patch', patch)
  enqueue(run, job, attempt, pool, priority, arrived, entry, avoid, vram)
end

-- Further candidates of a job, queued where its first run was. ARGV, beginning at `from`: the id and the patch of each.
local function add_candidates(job, first, now, from)
  local key = P .. 'job:' .. job
  local was = redis.call('HMGET', P .. 'run:' .. first, 'arrived', 'entry', 'pool', 'priority')
  for i = from, #ARGV, 2 do
    local slot = redis.call('HINCRBY', key, 'slots', 1) - 1
    redis.call('HSET', key, 'runs', redis.call('HGET', key, 'runs') .. ' ' .. ARGV[i])
    new_run(ARGV[i], job, slot, 1, now, was[1], was[2], was[3], was[4], '', 0, ARGV[i + 1])
  end
end

-- A job that is being canceled, or has ended, takes no more results: its run is canceled and the caller superseded.
local function stop_if_unwanted(run, job, now)
  local status = redis.call('HGET', P .. 'job:' .. job, 'status')
  if status ~= 'canceling' and not JOB_ENDS[tostring(status)] then return false end
  run_end(run, 'cancel', now, 'the job was ' .. (status == 'canceling' and 'canceled' or status), '{}')
  if status == 'canceling' and #live_runs(job) == 0 then job_move(job, 'stop', now) end
  return true
end

-- What a worker is now and why, with the story of how it got there.
local function worker_note(worker, state, note)
  local key = P .. 'worker:' .. worker
  local was = redis.call('HMGET', key, 'state', 'note')
  if was[1] == state and was[2] == note then return end
  local now = now_ms()
  if was[1] ~= state and state == 'down' then
    close(worker, now)
  elseif state ~= 'down' and (not was[1] or was[1] == 'down') then
    open(worker, now)
  elseif was[1] ~= state then
    settle(worker, busy_since(worker, now))
  end
  redis.call('HSET', key, 'state', state, 'note', note)
  redis.call('XADD', key .. ':events', 'MAXLEN', '~', WORKER_EVENTS_LENGTH, '*', 'state', state, 'note', note)
  if was[1] ~= state then feed('worker', 'worker', worker) end
end

-- The worker's next state, or nil if the table has none.
local function worker_move(worker, event, note)
  local state = redis.call('HGET', P .. 'worker:' .. worker, 'state') or 'down'
  local to = WORKER[state .. ' ' .. event]
  if to then worker_note(worker, to, note) end
  return to
end

-- What the store thinks a worker has.
local function duties(worker)
  local runs = redis.call('ZRANGE', P .. 'worker:' .. worker .. ':runs', 0, -1)
  local canceling = {}
  for _, run in ipairs(runs) do
    local status = redis.call('HGET', P .. 'job:' .. redis.call('HGET', P .. 'run:' .. run, 'job'), 'status')
    if status == 'canceling' or JOB_ENDS[tostring(status)] then canceling[#canceling + 1] = run end
  end
  local at = redis.call('HMGET', P .. 'worker:' .. worker, 'epoch', 'state')
  return { at[1], runs, canceling, at[2] }
end
