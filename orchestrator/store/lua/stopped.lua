-- A run is confirmed not to execute, after its job was canceled or expired.
local run, attempt, worker = unpack(ARGV, 1, 3)
local it, state = held(run, attempt, worker)
if not it or RUN_ENDS[state] then return { 'superseded', state } end
if stop_if_unwanted(run, it.job, now_ms()) then return { 'ok' } end
return { 'superseded', state }
