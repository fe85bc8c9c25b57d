-- The dispatcher answers a question. Whoever asked takes it; what nobody takes goes by itself.
local question, answer = unpack(ARGV, 1, 2)
local key = P .. 'answer:' .. question
redis.call('RPUSH', key, answer)
redis.call('PEXPIRE', key, ANSWER_TTL)
