-- What ComfyUI says of a run, for the client of its job. ARGV from 5 on: '1' (kept) or '0' (live only), and frames.
local run, attempt, worker, history = unpack(ARGV, 1, 4)
local it, state = held(run, attempt, worker)
if not it or RUN_ENDS[state] then return { 'superseded', state } end
if history ~= '' then redis.call('HSET', P .. 'run:' .. run, 'history', history) end
for i = 5, #ARGV, 2 do
  if ARGV[i] == '1' then
    tell(it.job .. ':comfy', 'comfy', ARGV[i + 1])
  else
    redis.call('PUBLISH', P .. 'watch:' .. it.job .. ':comfy', ' comfy ' .. ARGV[i + 1])
  end
end
return { 'ok' }
