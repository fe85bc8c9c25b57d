-- An agent tells of its worker: what happened to it, or only what there is to say of the state that it is in.
local worker, epoch, event, note = unpack(ARGV, 1, 4)
local at = redis.call('HMGET', P .. 'worker:' .. worker, 'epoch', 'state', 'drained')
if at[1] ~= epoch then return { 'superseded', 'taken over' } end
if at[2] == 'down' then return { 'superseded', 'down' } end
if event == '' then
  worker_note(worker, at[2], note)
elseif event == 'resume' and at[3] == '1' and at[2] ~= 'quarantined' then
  worker_move(worker, 'drain', 'drained by an operator')
elseif not worker_move(worker, event, note) then
  return { 'superseded', at[2] }
end
return { 'ok' }
