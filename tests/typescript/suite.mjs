// Every operation that is built, through the official client; each answer is checked against the contract's schemas.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { check, client, items, user } from './support.mjs';

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

test('an approval, a denial and a tool of the client', async () => {
  const agent = await client.agents.create({ model: 'openai/scripted', memory_blocks: [{ label: 'human', value: 'Name: Ada' }] });
  const insert = (line) => `memory_insert {"label":"human","new_string":"${line}"}`;
  const human = async () => (await client.agents.blocks.retrieve('human', { agent_id: agent.id })).value;
  const kinds = (messages) => messages.map((m) => m.message_type);
  assert.equal(await client.agents.tools.updateApproval('memory_insert', { agent_id: agent.id, body_requires_approval: true }), null);

  const asked = await client.agents.messages.create(agent.id, { messages: user(`[[parallel:${insert('A')} | ${insert('B')}]] done`) });
  check('LettaResponse', asked);
  assert.deepEqual(kinds(asked.messages), ['approval_request_message']);
  assert.equal(asked.stop_reason.stop_reason, 'requires_approval');
  const waiting = await client.agents.retrieve(agent.id, { include: ['agent.pending_approval'] });
  check('AgentState', waiting);
  assert.equal(waiting.pending_approval.id, asked.messages[0].id);
  await assert.rejects(client.agents.messages.create(agent.id, { messages: user('hello?') }), (error) => error.status === 409 && error.error.detail.code === 'PENDING_APPROVAL');

  const [a, b] = asked.messages[0].tool_calls.map((call) => call.tool_call_id);
  const approvals = [{ type: 'approval', tool_call_id: a, approve: true }, { type: 'approval', tool_call_id: b, approve: false, reason: 'not B' }];
  const answered = await client.agents.messages.create(agent.id, { messages: [{ type: 'approval', approvals }] });
  check('LettaResponse', answered);
  assert.deepEqual(kinds(answered.messages), ['tool_return_message', 'assistant_message']);
  assert.match(answered.messages[0].tool_returns.find((end) => end.tool_call_id === b).tool_return, /not B/);
  assert.equal(await human(), 'Name: Ada\nA');

  const client_tools = [{ name: 'client_ping', description: 'Pings the client', parameters: { type: 'object', properties: { q: { type: 'string' } } } }];
  for (const stream_tokens of [false, true]) {
    const send = async (messages) => {
      const chunks = [];
      for await (const chunk of await client.agents.messages.create(agent.id, { messages, client_tools, streaming: true, stream_tokens })) chunks.push(chunk);
      return chunks;
    };
    const asking = await send(user('[[tool:client_ping {"q":"x"}]] pinged'));
    assert.equal(asking.at(-2).stop_reason, 'requires_approval');
    const request = asking.find((chunk) => chunk.message_type === 'approval_request_message');
    check('ApprovalRequestMessage', request);
    const end = { type: 'tool', tool_call_id: request.tool_call.tool_call_id, tool_return: 'pong', status: 'success' };
    const ended = await send([{ type: 'approval', approvals: [end] }]);
    assert.equal(ended.find((chunk) => chunk.message_type === 'tool_return_message').tool_return, 'pong');
    assert.equal(ended.at(-2).stop_reason, 'end_turn');
  }
  for (const message of await items(client.agents.messages.list(agent.id, { order: 'asc', limit: 100 }))) {
    if (message.message_type === 'approval_request_message') check('ApprovalRequestMessage', message);
    if (message.message_type === 'approval_response_message') check('ApprovalResponseMessage', message);
  }
  await client.agents.delete(agent.id);
});

test('conversations', async () => {
  const agent = await client.agents.create({ model: 'openai/scripted', memory_blocks: [{ label: 'human', value: 'Name: Ada' }] });
  const settings = { provider_type: 'openai', temperature: 0.5 };
  const made = await client.conversations.create({ agent_id: agent.id, isolated_block_labels: ['human'], model: 'openai/scripted', model_settings: settings });
  check('Conversation', made);
  assert.equal(made.isolated_block_ids.length, 1);
  check('Conversation', await client.conversations.update(made.id, { summary: 'About tea' }));
  const kinds = async (stream) => { const all = []; for await (const chunk of await stream) all.push(chunk.message_type); return all; };
  const said = user('[[tool:memory_insert {"label":"human","new_string":"x"}]] done');
  const shown = await kinds(client.conversations.messages.create(made.id, { messages: said, background: true }));
  assert.deepEqual(shown, ['ping', 'tool_call_message', 'tool_return_message', 'assistant_message', 'stop_reason', 'usage_statistics']);
  assert.equal((await client.agents.blocks.retrieve('human', { agent_id: agent.id })).value, 'Name: Ada');
  const [run] = await items(client.runs.list({ conversation_id: made.id }));
  check('Run', run);
  assert.deepEqual(await kinds(client.conversations.messages.stream(made.id, { run_id: run.id })), shown);
  const listed = await items(client.conversations.messages.list(made.id, { order: 'asc' }));
  assert.deepEqual(listed.map((m) => m.message_type), ['system_message', 'user_message', 'tool_call_message', 'tool_return_message', 'assistant_message']);
  const fork = await client.conversations.fork(made.id);
  check('Conversation', fork);
  assert.match(await client.conversations.recompile(fork.id), new RegExp(fork.id));
  for (const found of await client.conversations.list({ agent_id: agent.id })) check('Conversation', found);
  await assert.rejects(client.conversations.cancel(made.id), (error) => error.status === 409);
  await client.conversations.delete(made.id);
  await assert.rejects(client.conversations.retrieve(made.id), (error) => error.status === 404);
  await client.agents.delete(agent.id);
});
