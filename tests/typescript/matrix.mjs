// Everything that bends a turn, in each of its forms: blocking, streamed by steps, streamed by tokens, in the background.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FORMS, check, client, items, take } from './support.mjs';

const insert = (line) => `memory_insert {"label":"human","new_string":"${line}"}`;
const append = (line) => `core_memory_append {"label":"human","content":"${line}"}`;
const calls = (...which) => which.map((call) => `[[tool:${call}]]`).join('');
const gate = (...tools) => tools.map((tool_name) => ({ type: 'requires_approval', tool_name }));
const approve = (...ids) => [{ type: 'approval', approvals: ids.map((id) => ({ type: 'approval', tool_call_id: id, approve: true })) }];
const human = async (thread) => (await client.agents.blocks.retrieve('human', { agent_id: thread.agent })).value;
const CALLED = ['tool_call_message', 'tool_return_message'];
const REPLIED = ['assistant_message'];

async function make(tools, fields = {}) {
  const state = await client.agents.create({
    model: 'openai/scripted',
    memory_blocks: [{ label: 'human', value: 'Name: Ada' }],
    include_base_tools: false,
    include_base_tool_rules: false,
    tools,
    ...fields,
  });
  check('AgentState', state);
  return { agent: state.id };
}

// A test in every form, each with an agent of its own.
function each(name, make, body) {
  for (const form of Object.keys(FORMS)) {
    test(`${name}, ${form}`, async () => {
      const thread = await make();
      try {
        await body((messages, options) => take(form, thread, messages, options), thread, form);
      } finally {
        await client.agents.delete(thread.agent);
      }
    });
  }
}

// ── approvals and tools of the client

each('an approval', () => make(['memory_insert'], { tool_rules: gate('memory_insert') }), async (take, thread) => {
  const asked = await take(`${calls(insert('A'))}done`);
  assert.deepEqual([asked.kinds, asked.stop], [['approval_request_message'], 'requires_approval']);
  await assert.rejects(take('hello?'), (error) => error.status === 409 && error.error.detail.code === 'PENDING_APPROVAL');
  await assert.rejects(take(approve('call_1')), (error) => error.status === 400);
  const done = await take(approve(...asked.waiting));
  assert.deepEqual([done.kinds, done.words, done.stop], [['tool_return_message', ...REPLIED], 'echo: done', 'end_turn']);
  const again = await take(approve(...asked.waiting));
  assert.deepEqual([again.kinds, await human(thread)], [REPLIED, 'Name: Ada\nA']);
});

each('a denial beside an approval', () => make(['memory_insert', 'core_memory_append'], { tool_rules: gate('memory_insert') }), async (take, thread) => {
  const asked = await take(`[[parallel:${append('free')} | ${insert('A')} | ${insert('B')}]] both`);
  assert.equal(asked.waiting.length, 2);
  const [a, b] = asked.waiting;
  const approvals = [
    { type: 'approval', tool_call_id: a, approve: true },
    { type: 'approval', tool_call_id: b, approve: false, reason: 'not B' },
  ];
  const done = await take([{ type: 'approval', approvals }, { role: 'user', content: 'and beside' }]);
  assert.deepEqual([done.kinds, done.words], [['tool_return_message', ...REPLIED], 'echo: and beside']);
  assert.deepEqual(done.returns.map((end) => end.status), ['error', 'success', 'success']);
  assert.match(done.returns[0].tool_return, /not B/);
  assert.deepEqual((await human(thread)).split('\n').sort(), ['A', 'Name: Ada', 'free']);
});

each('a cancel of what waits', () => make(['memory_insert'], { tool_rules: gate('memory_insert') }), async (take, thread) => {
  const asked = await take(`${calls(insert('A'))}x`);
  assert.deepEqual(await client.agents.messages.cancel(thread.agent), { [asked.run]: 'cancelled' });
  assert.equal((await client.runs.retrieve(asked.run)).status, 'cancelled');
  assert.deepEqual([(await take('on')).words, await human(thread)], ['echo: on', 'Name: Ada']);
});

const parameters = { type: 'object', properties: { q: { type: 'string' } }, required: ['q'] };
const client_tools = [{ name: 'client_ping', description: 'Pings the client', parameters }];

each('a tool of the client', () => make([]), async (take) => {
  const asked = await take('[[tool:client_ping {"q":"x"}]] pinged', { client_tools });
  assert.deepEqual([asked.kinds, asked.stop], [['approval_request_message'], 'requires_approval']);
  const end = { type: 'tool', tool_call_id: asked.waiting[0], tool_return: 'pong', status: 'success' };
  const done = await take([{ type: 'approval', approvals: [end] }], { client_tools });
  assert.deepEqual([done.returns[0].tool_return, done.words, done.stop], ['pong', 'echo: pinged', 'end_turn']);
});

// ── rules: their kind, the calls that the model makes, which of them are refused, how the turn ends

const children = ['core_memory_append'];
const tool_name = 'memory_insert';
const RULES = [
  [{ type: 'run_first', tool_name }, [append('B'), insert('A'), append('B')], [true, false, false], 'end_turn'],
  [{ type: 'exit_loop', tool_name }, [insert('A')], [false], 'tool_rule'],
  [{ type: 'continue_loop', tool_name }, [insert('A')], [false], 'end_turn'],
  [{ type: 'constrain_child_tools', tool_name, children }, [insert('A'), insert('B'), append('C')], [false, true, false], 'end_turn'],
  [{ type: 'parent_last_tool', tool_name, children }, [append('C'), insert('A'), append('C')], [true, false, false], 'end_turn'],
  [{ type: 'conditional', tool_name, child_output_mapping: { 'Name: Ada\nA': 'core_memory_append' } }, [insert('A'), insert('B'), append('C')], [false, true, false], 'end_turn'],
  [{ type: 'max_count_per_step', tool_name, max_count_limit: 1 }, [insert('A'), insert('B')], [false, true], 'end_turn'],
  [{ type: 'required_before_exit', tool_name }, [insert('A')], [false], 'end_turn'],
];
for (const [rule, script, refused, stop] of RULES) {
  each(`the rule ${rule.type}`, () => make(['memory_insert', 'core_memory_append'], { tool_rules: [rule] }), async (take) => {
    const early = rule.type === 'required_before_exit' ? '[[say:too early]]' : '';
    const turn = await take(`${early}${calls(...script)}done`);
    assert.deepEqual(turn.returns.map((end) => end.tool_return.startsWith('[ToolConstraintError]')), refused);
    assert.equal(turn.stop, stop);
    assert.equal(turn.kinds.filter((kind) => kind === 'assistant_message').length, (early ? 1 : 0) + (stop === 'end_turn' ? 1 : 0));
  });
}

// ── kinds of agents, models, forms of answers

const SPEAKING = {
  letta_v1_agent: {},
  memgpt_agent: {},
  memgpt_v2_agent: {},
  split_thread_agent: { system: 'You are helpful.' },
  voice_convo_agent: { enable_sleeptime: true },
  voice_sleeptime_agent: {},
};
for (const [agent_type, fields] of Object.entries(SPEAKING)) {
  const base = { agent_type, include_base_tools: true, include_base_tool_rules: true, ...fields };
  each(`the type ${agent_type}`, () => make(['memory_insert', 'send_message'], base), async (take, thread) => {
    const turn = await take(`${calls(insert('A'))}hello`);
    assert.deepEqual([turn.kinds.at(-1), turn.words], ['assistant_message', 'echo: hello']);
    assert.ok(['end_turn', 'tool_rule'].includes(turn.stop), turn.stop);
    assert.equal(await human(thread), 'Name: Ada\nA');
  });
}
for (const agent_type of ['react_agent', 'workflow_agent', 'sleeptime_agent']) {
  const fields = { agent_type, tool_rules: [{ type: 'exit_loop', tool_name }] };
  each(`the type ${agent_type}`, () => make(['memory_insert'], fields), async (take, thread) => {
    const turn = await take(`${calls(insert('A'))}never said`);
    assert.deepEqual([turn.kinds, await human(thread)], [CALLED, 'Name: Ada\nA']);
    assert.ok(['end_turn', 'tool_rule'].includes(turn.stop), turn.stop);
  });
}

const json_schema = { name: 'shape', schema: { type: 'object', properties: { a: { type: 'string' } }, required: ['a'] } };
const model_settings = { provider_type: 'openai', response_format: { type: 'json_schema', json_schema } };
each('an answer in a form, by another model', () => make([], { model_settings }), async (take) => {
  const models = [undefined, 'openai/scripted-too'];
  for (const override_model of models) {
    const turn = await take('[[say:{"a":"tea"}]]', override_model ? { override_model } : {});
    assert.deepEqual(JSON.parse(turn.words), { a: 'tea' });
    const [step] = await items(client.runs.steps.list(turn.run));
    check('Step', step);
    assert.equal(step.model_handle, override_model ?? 'openai/scripted');
    const sent = (await client.steps.trace.retrieve(step.id)).request_json;
    if (!override_model) assert.deepEqual(sent.response_format.json_schema.schema.required, ['a']);
  }
  await assert.rejects(take('hi', { override_model: 'nobody/nothing' }), (error) => error.status === 404);
});

each('a long answer', () => make([]), async (take) => {
  const words = Array.from({ length: 20000 }, (_, number) => `word-${number}`).join(' ');
  const turn = await take(words);
  assert.deepEqual([turn.words, turn.stop], [`echo: ${words}`, 'end_turn']);
});

// ── conversations and compaction

async function activeRun(conversation_id) {
  for (let tries = 0; tries < 600; tries++) {
    const [run] = await items(client.runs.list({ conversation_id, active: true }));
    if (run) return run;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error('no run began');
}

async function talking() {
  const thread = await make(['memory_insert']);
  const made = await client.conversations.create({ agent_id: thread.agent });
  check('Conversation', made);
  return { ...thread, conversation: made.id };
}

each('a conversation and its fork', talking, async (turn, thread, form) => {
  const first = await turn(`${calls(insert('A'))}hello`);
  assert.deepEqual([first.kinds, first.words, first.stop], [[...CALLED, ...REPLIED], 'echo: hello', 'end_turn']);
  const fork = await client.conversations.fork(thread.conversation);
  check('Conversation', fork);
  assert.equal((await take(form, { ...thread, conversation: fork.id }, 'on')).words, 'echo: on');
  const words = async (id) => (await items(client.conversations.messages.list(id, { order: 'asc' }))).map((message) => message.content);
  assert.ok((await words(fork.id)).includes('echo: on') && (await words(fork.id)).includes('echo: hello'));
  assert.ok(!(await words(thread.conversation)).includes('echo: on'));
});

each('two conversations at once, and a cancel', talking, async (turn, thread, form) => {
  const other = await client.conversations.create({ agent_id: thread.agent });
  const slow = turn('[[silent:20000]] slow');
  const run = await activeRun(thread.conversation);
  assert.equal((await take(form, { ...thread, conversation: other.id }, 'quick')).words, 'echo: quick');
  await assert.rejects(turn('now'), (error) => error.status === 409 && error.error.run_id === run.id);
  assert.deepEqual(await client.conversations.cancel(thread.conversation), { [run.id]: 'cancelled' });
  assert.equal((await slow).stop, 'cancelled');
  assert.equal((await turn('on')).words, 'echo: on');
});

const LONG = 'and so on '.repeat(150);
const small = { context_window_limit: 40000, compaction_settings: { mode: 'all' } };
each('a context that is too full', () => make([], small), async (take, thread) => {
  for (let number = 0; number < 4; number++) await take(`turn ${number} ${LONG}`);
  const before = (await client.agents.retrieve(thread.agent)).message_ids.length;
  const turn = await take('[[usage:38000]] full');
  assert.deepEqual([turn.words, turn.stop], ['echo: full', 'end_turn']);
  const state = await client.agents.retrieve(thread.agent);
  assert.ok(state.message_ids.length < before);
  assert.equal((await take('on')).words, 'echo: on');
});

each('a context that is summarised because somebody asks', talking, async (take, thread) => {
  for (let number = 0; number < 4; number++) await take(`turn ${number} ${LONG}`);
  const done = await client.conversations.messages.compact(thread.conversation);
  check('CompactionResponse', done);
  assert.ok(done.num_messages_after < done.num_messages_before && done.summary);
  assert.equal((await take('on')).words, 'echo: on');
});

each('a default thread that is summarised because somebody asks', () => make([]), async (take, thread) => {
  for (let number = 0; number < 4; number++) await take(`turn ${number} ${LONG}`);
  const done = await client.agents.messages.compact(thread.agent);
  check('CompactionResponse', done);
  assert.ok(done.num_messages_after < done.num_messages_before && done.summary);
  assert.equal((await take('on')).words, 'echo: on');
});
