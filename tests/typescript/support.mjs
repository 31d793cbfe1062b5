// What the tests share: the client, the contract's schemas, and the ways to take a turn.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import Letta from '@letta-ai/letta-client';
import Ajv from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';

const contract = JSON.parse(readFileSync(process.env.CONTRACT, 'utf8'));
const ajv = new Ajv({ strict: false, allErrors: true, validateFormats: false });
addFormats(ajv);
ajv.addSchema({ $id: 'contract', components: contract.components });
const compiled = new Map();

export function check(schema, value) {
  if (!compiled.has(schema)) compiled.set(schema, ajv.compile({ $ref: `contract#/components/schemas/${schema}` }));
  const validate = compiled.get(schema);
  const plain = JSON.parse(JSON.stringify(value));
  assert.ok(validate(plain), `${schema}: ${JSON.stringify(validate.errors?.slice(0, 5))}`);
}

export const client = new Letta({ baseURL: process.env.GREENROOM_URL, apiKey: 'unused', maxRetries: 0 });
export const user = (content) => [{ role: 'user', content }];
export const items = async (page) => { const all = []; for await (const item of page) all.push(item); return all; };

// ── the ways to take a turn

const SCHEMAS = {
  ping: 'LettaPing',
  stop_reason: 'LettaStopReason',
  usage_statistics: 'LettaUsageStatistics',
  user_message: 'UserMessage',
  event_message: 'EventMessage',
  summary_message: 'SummaryMessage',
  assistant_message: 'AssistantMessage',
  tool_call_message: 'ToolCallMessage',
  tool_return_message: 'ToolReturnMessage',
  approval_request_message: 'ApprovalRequestMessage',
};

// Each takes a thread and a body, and gives the chunks of the turn.
export const FORMS = {
  async blocking(thread, body) {
    const answer = thread.conversation
      ? await client.post(`/v1/conversations/${thread.conversation}/messages`, { body: { ...body, streaming: false } })
      : await client.agents.messages.create(thread.agent, body);
    check('LettaResponse', answer);
    return [...answer.messages, answer.stop_reason, answer.usage];
  },
  steps: (thread, body) => streamed(thread, body),
  tokens: (thread, body) => streamed(thread, { ...body, stream_tokens: true }),
  async background(thread, body) {
    if (thread.conversation) return streamed(thread, { ...body, background: true });
    const run = await client.agents.messages.createAsync(thread.agent, body);
    check('Run', run);
    const chunks = await items(await client.runs.messages.stream(run.id, { starting_after: 0 }));
    const rest = await items(await client.runs.messages.stream(run.id, { starting_after: 1 }));
    assert.deepEqual(rest, chunks.slice(1));
    check('Run', await client.runs.retrieve(run.id));
    return chunks;
  },
};

async function streamed({ agent, conversation }, body) {
  const stream = conversation
    ? client.conversations.messages.create(conversation, body)
    : client.agents.messages.create(agent, { ...body, streaming: true });
  const chunks = await items(await stream);
  assert.equal(chunks[0].message_type, 'ping');
  return chunks;
}

// What identifies a message: the same in every form, and in a list.
const mark = (message) => [message.id, message.message_type, message.otid, message.step_id, message.run_id].join(' ');
const ASIDE = ['ping', 'stop_reason', 'usage_statistics', 'user_message', 'system_message', 'approval_response_message', 'event_message', 'summary_message'];
const told = (message) => !ASIDE.includes(message.message_type);

async function listed({ agent, conversation }) {
  const page = conversation
    ? client.conversations.messages.list(conversation, { order: 'asc', limit: 1000 })
    : client.agents.messages.list(agent, { order: 'asc', limit: 1000 });
  return (await items(page)).filter(told);
}

// A turn as its client saw it: the kinds of its messages, its words, the ids of the calls that wait, the returns, the end.
export async function take(form, thread, messages, options = {}) {
  const body = { messages: typeof messages === 'string' ? user(messages) : messages, ...options };
  const before = new Set((await listed(thread)).map(mark));
  const chunks = await FORMS[form](thread, body);
  const turn = { kinds: [], words: '', waiting: [], returns: [], stop: undefined, usage: undefined, run: undefined };
  const seen = new Set();
  for (const chunk of chunks) {
    const kind = chunk.message_type;
    turn.run ??= chunk.run_id;
    check(SCHEMAS[kind], chunk);
    if (kind === 'ping') continue;
    if (kind === 'stop_reason') { assert.equal(turn.stop, undefined); turn.stop = chunk.stop_reason; continue; }
    if (kind === 'usage_statistics') { turn.usage = chunk; continue; }
    if (!seen.has(`${chunk.id} ${kind}`)) turn.kinds.push(kind);
    seen.add(`${chunk.id} ${kind}`);
    if (kind === 'assistant_message') turn.words += chunk.content;
    if (kind === 'tool_return_message') turn.returns.push(...chunk.tool_returns);
    if (kind === 'approval_request_message') {
      const calls = Array.isArray(chunk.tool_calls) ? chunk.tool_calls : [chunk.tool_call];
      for (const call of calls) if (call.name && !turn.waiting.includes(call.tool_call_id)) turn.waiting.push(call.tool_call_id);
    }
  }
  assert.ok(turn.stop && turn.usage, JSON.stringify(chunks));
  const stored = (await listed(thread)).map(mark).filter((each) => !before.has(each));
  assert.deepEqual(new Set(stored), new Set(chunks.filter(told).map(mark)));
  // A whole answer without messages names no run.
  const recorded = turn.run ? await items(client.runs.steps.list(turn.run)) : [];
  const steps = recorded.filter((step) => step.status !== 'cancelled');
  const cost = steps.reduce((sum, step) => sum + step.total_tokens, 0);
  // The call for a summary has a record, and is no step of the turn; who did not ask for it sees it as the model does.
  const summaries = turn.kinds.filter((kind) => kind === 'user_message' || kind === 'summary_message').length;
  assert.equal(steps.length - summaries, turn.usage.step_count);
  assert.equal(cost, turn.usage.total_tokens);
  return turn;
}
