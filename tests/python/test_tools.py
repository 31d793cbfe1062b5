"""Tools that clients write: their whole life, through the official client."""

import json
from typing import List, Type

import letta_client
import pytest
from pydantic import BaseModel, Field

MODEL = "openai/scripted"

ADD = '''
def add(x: int, y: int = 1) -> int:
    """Adds two numbers.

    Args:
        x: The first number.
        y: The second number.
    """
    print("adding")
    return x + y
'''


@pytest.fixture
def write(client):
    """Writes tools that are gone after the test."""
    made = []

    def write(source, **fields):
        tool = client.tools.create(source_code=source, **fields)
        made.append(tool.id)
        return tool

    yield write
    for tool_id in made:
        client.tools.delete(tool_id)


@pytest.fixture
def make(client):
    made = []

    def make(*tools, **fields):
        state = client.agents.create(model=MODEL, memory_blocks=[{"label": "human", "value": "Name: Ada"}], tools=list(tools), **fields)
        made.append(state.id)
        return state

    yield make
    for agent_id in made:
        client.agents.delete(agent_id)


def say(client, agent, text):
    return client.agents.messages.create(agent.id, messages=[{"role": "user", "content": text}])


def returns(answer):
    ends = [end for message in answer.messages if message.message_type == "tool_return_message" for end in message.tool_returns]
    return [(end.status, end.tool_return) for end in ends]


def run(client, source, args, **fields):
    body = {"source_code": source, "args": args, **fields}
    return client.post("/v1/tools/run", cast_to=letta_client.types.ToolReturnMessage, body=body)


def test_the_life_of_a_tool(client, write):
    tool = write(ADD, tags=["math"], return_char_limit=100)
    assert (tool.name, tool.tool_type, tool.description, tool.tags) == ("add", "custom", "Adds two numbers.", ["math"])
    assert tool.json_schema["parameters"]["required"] == ["x"]
    assert client.tools.retrieve(tool.id) == tool
    assert tool.id in [each.id for each in client.tools.list(name="add")]
    again = client.tools.upsert(source_code=ADD, default_requires_approval=True)
    assert (again.id, again.tags, again.default_requires_approval) == (tool.id, ["math"], True)
    changed = client.tools.update(tool.id, description="Sums", enable_parallel_execution=True)
    assert (changed.description, changed.enable_parallel_execution) == ("Sums", True)
    assert client.tools.search(query="sums", tags=["math"])[0].tool.id == tool.id
    assert client.get("/v1/tools/count?tool_types=custom&name=add", cast_to=int) == 1
    with pytest.raises(letta_client.BadRequestError, match="line 1"):
        client.tools.create(source_code="def broken(:")


def test_a_model_calls_it(client, write, make):
    write(ADD)
    agent = make("add")
    answer = say(client, agent, '[[tool:add {"x":2,"y":40}]] done')
    assert returns(answer) == [("success", "42")]
    end = next(message for message in answer.messages if message.message_type == "tool_return_message")
    assert end.tool_returns[0].stdout == ["adding\n"]
    by_hand = client.agents.tools.run("add", agent_id=agent.id, args={"x": "1"})
    assert (by_hand.status, by_hand.func_return, by_hand.stdout) == ("success", 2, ["adding\n"])


def test_it_is_called_only_with_a_word_from_somebody(client, write, make):
    write(ADD, default_requires_approval=True)
    agent = make()
    tool = client.tools.list(name="add").items[0]
    client.agents.tools.attach(tool.id, agent_id=agent.id)
    asked = say(client, agent, '[[tool:add {"x":1}]] done')
    assert asked.stop_reason.stop_reason == "requires_approval"
    call = asked.messages[-1].tool_call.tool_call_id
    item = {"type": "approval", "approvals": [{"type": "approval", "tool_call_id": call, "approve": True}]}
    assert returns(client.agents.messages.create(agent.id, messages=[item])) == [("success", "2")]
    client.agents.tools.detach(tool.id, agent_id=agent.id)
    assert "add" not in [each.name for each in client.agents.tools.list(agent.id, limit=100)]


class Item(BaseModel):
    name: str = Field(..., description="What it is called")
    price: float = Field(..., description="What it costs")


class Entry(BaseModel):
    items: List[Item] = Field(..., description="What is counted")
    note: str = Field("none", description="A remark")


class Arguments(BaseModel):
    data: Entry
    factor: int


COUNT = """
def count(data: Entry, factor: int):
    return {"sum": sum(item.price for item in data.items) * factor, "first": data.items[0].name, "note": data.note}
"""

COUNTED = {"data": {"items": [{"name": "tea", "price": 1.5}, {"name": "cake", "price": 2}]}, "factor": 2}


def test_arguments_with_a_schema_of_their_own(client, write, make):
    tool = write(COUNT, args_json_schema=Arguments.model_json_schema())
    assert "$ref" not in json.dumps(tool.json_schema)
    agent = make("count")
    end = client.agents.tools.run("count", agent_id=agent.id, args=COUNTED)
    assert (end.status, end.func_return) == ("success", "{'sum': 7.0, 'first': 'tea', 'note': 'none'}"), end
    answer = say(client, agent, f"[[tool:count {json.dumps(COUNTED)}]] done")
    assert json.loads(returns(answer)[0][1].replace("'", '"'))["sum"] == 7.0


def test_models_in_the_source(client, write):
    source = """
from pydantic import BaseModel, Field

class Point(BaseModel):
    x: int = Field(..., description="Right")
    y: int = Field(..., description="Up")

def length(points: list[Point], scale: float = 1) -> float:
    '''Measures.

    Args:
        points: Where it goes
        scale: How far
    '''
    return sum(point.x + point.y for point in points) * scale
"""
    tool = write(source)
    assert tool.json_schema["parameters"]["properties"]["points"]["items"]["properties"]["x"]["description"] == "Right"
    end = run(client, source, {"points": [{"x": 1, "y": 2}, {"x": 3, "y": 4}], "scale": "2"})
    assert (end.status, end.tool_return) == ("success", "20.0")


def test_a_function_of_the_program(client, make):
    if not hasattr(client.tools, "upsert_from_function"):
        assert letta_client.__version__ != "1.12.0"
        pytest.skip("this version of the SDK has no such helper")

    def shout(text: str) -> str:
        """Shouts.

        Args:
            text: What to shout.
        """
        return text.upper()

    tool = client.tools.upsert_from_function(func=shout)
    assert client.tools.upsert_from_function(func=shout, tags=["loud"]).id == tool.id
    agent = make("shout")
    assert returns(say(client, agent, '[[tool:shout {"text":"hi"}]] done')) == [("success", "HI")]
    client.tools.delete(tool.id)


def test_a_class_of_the_program(client, make):
    if not hasattr(client.tools, "add"):
        assert letta_client.__version__ != "1.12.0"
        pytest.skip("this version of the SDK has no such helper")
    from letta_client.types.tool import BaseTool

    class CountTool(BaseTool):
        id: str = "unused"
        name: str = "count_with_a_class"
        args_schema: Type[BaseModel] = Arguments
        description: str = "Counts"
        tags: List[str] = ["counting"]

        def run(self, data: Entry, factor: int):
            return data.items[0].name * factor

    tool = client.tools.add(tool=CountTool())
    assert (tool.name, tool.tags) == ("count_with_a_class", ["counting"])
    agent = make("count_with_a_class")
    end = client.agents.tools.run("count_with_a_class", agent_id=agent.id, args=COUNTED)
    assert (end.status, end.func_return) == ("success", "teatea"), end
    client.tools.delete(tool.id)


def test_secrets_are_in_its_environment_and_nothing_else_is(client, write, make):
    write("def spell() -> dict:\n    '''Spells.'''\n    import os\n    return dict(os.environ)\n")
    agent = make("spell", secrets={"API_KEY": "s3cret"})
    end = client.agents.tools.run("spell", agent_id=agent.id)
    names = {name for name in eval(end.func_return)}
    assert names == {"API_KEY", "HOME", "LANG", "LETTA_AGENT_ID", "LETTA_TOOL_ID", "PATH", "TMPDIR"}
    assert "s3cret" in end.func_return


def test_what_fails_says_how(client, write, make):
    write("def fail(why: str):\n    '''Fails.\n\n    Args:\n        why: The reason\n    '''\n    raise ValueError(why)\n")
    agent = make("fail")
    end = client.agents.tools.run("fail", agent_id=agent.id, args={"why": "on purpose"})
    assert (end.status, end.func_return) == ("error", None)
    assert end.stderr[0].startswith("Error executing function fail: ValueError: on purpose\n")
    assert 'File "<fail>", line 7, in fail' in end.stderr[0]
    [(status, text)] = returns(say(client, agent, '[[tool:fail {"why":"again"}]] done'))
    assert (status, text) == ("error", "again")


def test_long_returns_are_cut(client, write, make):
    write("def long() -> str:\n    '''Long.'''\n    return 'x' * 1000\n", return_char_limit=10)
    [(status, text)] = returns(say(client, make("long"), "[[tool:long {}]] done"))
    assert status == "success" and text.startswith("xxxxxxxxxx") and len(text) < 200


def test_a_source_is_run_once(client):
    end = run(client, ADD, {"x": 2, "y": 3})
    assert (end.id, end.tool_call_id, end.status, end.tool_return, end.stdout) == ("null", "null", "success", "5", ["adding\n"])
    wait = "async def wait():\n    '''Waits.'''\n    import asyncio, os\n    await asyncio.sleep(0)\n    return os.environ['A']\n"
    assert run(client, wait, {}, env_vars={"A": "b"}, name="wait").tool_return == "b"
    with pytest.raises(letta_client.BadRequestError, match="cobol"):
        run(client, ADD, {}, source_type="cobol")
    with pytest.raises(letta_client.BadRequestError, match="no function"):
        run(client, "x = 1", {})


def test_base_tools_come_back(client):
    tool = client.tools.list(name="send_message").items[0]
    client.tools.delete(tool.id)
    assert client.tools.list(name="send_message").items == [tool]
    assert tool.id in [each.id for each in client.post("/v1/tools/add-base-tools", cast_to=List[letta_client.types.Tool])]
