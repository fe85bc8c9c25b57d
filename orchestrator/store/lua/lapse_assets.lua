-- Assets unused past the retention are to be deleted. Those that an earlier sweep left half-done come again.
local retention, limit = tonumber(ARGV[1]), ARGV[2]
local documents = {}
for _, asset in ipairs(redis.call('ZRANGEBYSCORE', P .. 'assets', '-inf', ms(now_ms() - retention), 'LIMIT', 0, limit)) do
  local key = P .. 'asset:' .. asset
  redis.call('HSET', key, 'state', ASSET[redis.call('HGET', key, 'state') .. ' lapse'])
  documents[#documents + 1] = redis.call('HGET', key, 'doc')
end
return documents
