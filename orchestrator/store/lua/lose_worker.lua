-- An agent gives its worker up.
local worker, epoch, note = unpack(ARGV, 1, 3)
if redis.call('HGET', P .. 'worker:' .. worker, 'epoch') ~= epoch then return { 'superseded', 'taken over' } end
worker_move(worker, 'lose', note)
return { 'ok' }
