// Every operation that is built, through the official client; each answer is checked against the contract's schemas.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import Letta from '@letta-ai/letta-client';
import Ajv from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';

const contract = JSON.parse(readFileSync(process.env.CONTRACT, 'utf8'));
const ajv = new Ajv({ strict: false, allErrors: true, validateFormats: false });
addFormats(ajv);
ajv.addSchema({ $id: 'contract', components: contract.components });

function check(schema, value) {
  const validate = ajv.compile({ $ref: `contract#/components/schemas/${schema}` });
  const plain = JSON.parse(JSON.stringify(value));
  assert.ok(validate(plain), `${schema}: ${JSON.stringify(validate.errors?.slice(0, 5))}`);
}

const client = new Letta({ baseURL: process.env.GREENROOM_URL, apiKey: 'unused', maxRetries: 0 });
const user = (content) => [{ role: 'user', content }];
const items = async (page) => { const all = []; for await (const item of page) all.push(item); return all; };

test('agents, messages, runs, steps and blocks', async () => {
  const agent = await client.agents.create({ model: 'openai/scripted', memory_blocks: [{ label: 'human', value: 'Name: Ada' }], tags: ['ts'] });
  check('AgentState', agent);
  check('AgentState', await client.agents.retrieve(agent.id));
  check('AgentState', await client.agents.update(agent.id, { description: 'd' }));
  for (const state of await items(client.agents.list({ tags: ['ts'] }))) check('AgentState', state);

  const answer = await client.agents.messages.create(agent.id, { messages: user('[[tool:memory_insert {"label":"human","new_string":"x"}]] done') });
  check('LettaResponse', answer);
  assert.deepEqual(answer.messages.map((m) => m.message_type), ['tool_call_message', 'tool_return_message', 'assistant_message']);

  for (const stream_tokens of [false, true]) {
    const kinds = [];
    for await (const chunk of await client.agents.messages.create(agent.id, { messages: user('one two'), streaming: true, stream_tokens })) kinds.push(chunk.message_type);
    assert.equal(kinds[0], 'ping');
    assert.deepEqual(kinds.slice(-2), ['stop_reason', 'usage_statistics']);
  }

  const run = await client.agents.messages.createAsync(agent.id, { messages: user('later') });
  check('Run', run);
  let record = run;
  for (let i = 0; i < 400 && !record.completed_at; i++) {
    await new Promise((resolve) => setTimeout(resolve, 25));
    record = await client.runs.retrieve(run.id);
  }
  check('Run', record);
  assert.equal(record.status, 'completed');
  for (const step of await items(client.runs.steps.list(run.id))) {
    check('Step', step);
    check('Step', await client.steps.retrieve(step.id));
    check('StepMetrics', await client.steps.metrics.retrieve(step.id));
  }
  check('UsageStatistics', await client.runs.usage.retrieve(run.id));
  const frames = [];
  for await (const chunk of await client.runs.messages.stream(run.id, { starting_after: 0 })) frames.push(chunk.message_type);
  assert.equal(frames[0], 'ping');

  const block = await client.blocks.create({ label: 'notes', value: 'v' });
  check('BlockResponse', block);
  check('AgentState', await client.agents.blocks.attach(block.id, { agent_id: agent.id }));
  for (const found of await items(client.agents.blocks.list(agent.id))) check('BlockResponse', found);
  check('BlockResponse', await client.agents.blocks.update('notes', { agent_id: agent.id, value: 'w' }));
  check('AgentState', await client.agents.blocks.detach(block.id, { agent_id: agent.id }));
  await client.blocks.delete(block.id);

  for (const tool of await items(client.agents.tools.list(agent.id))) check('Tool', tool);
  for (const model of await client.models.list()) check('Model', model);
  await assert.rejects(client.agents.messages.cancel(agent.id), (error) => error.status === 409);
  await client.agents.messages.reset(agent.id, { add_default_initial_messages: false });
  await client.agents.delete(agent.id);
  await assert.rejects(client.agents.retrieve(agent.id), (error) => error.status === 404);
});
