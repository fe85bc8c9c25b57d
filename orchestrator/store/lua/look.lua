-- A job, its runs, and how many runs of its pool stand before its last one, in one look. They stand by their arrival, as
-- priority shifts it.
local job = ARGV[1]
local key = P .. 'job:' .. job
local of = redis.call('HMGET', key, 'runs', 'status')
if not of[1] then return {} end
local runs, last = {}, nil
for run in string.gmatch(of[1], '%S+') do
  runs[#runs + 1] = { run, redis.call('HMGET', P .. 'run:' .. run, unpack(RUN_FIELDS)) }
  last = run
end
local ahead = false
local at = JOB_ENDS[of[2]] and {} or redis.call('HMGET', P .. 'run:' .. last, 'state', 'pool', 'priority', 'arrived')
if at[1] == 'queued' then
  local queue = P .. 'queue:' .. at[2] .. ' '
  ahead = redis.call('ZRANK', queue .. at[3], last)
  for priority, start in pairs(HEAD_START) do
    local arrived = at[4] - HEAD_START[at[3]] + start
    if priority ~= at[3] then ahead = ahead + redis.call('ZCOUNT', queue .. priority, '-inf', '(' .. ms(arrived)) end
  end
end
return { redis.call('HMGET', key, unpack(JOB_FIELDS)), runs, ahead }
