-- A run has executed and only delivers its outputs: its worker could execute another one. That it had begun may not have
-- been told, where it was short.
local run, attempt, worker = unpack(ARGV, 1, 3)
local it, state = held(run, attempt, worker)
if not it or (state ~= 'running' and state ~= 'assigned') then return { 'superseded', state } end
feed('executed', 'run', run, 'worker', worker)
return { 'ok' }
