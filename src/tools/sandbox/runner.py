"""Runs one tool in a process of its own.

The request comes on standard input: four bytes of length, then JSON. The result goes back over the same socket, which the
tool never sees as standard input or output, so that nothing it prints can be taken for a result.
"""

# What only some tools need is imported where it is needed: a start is most of what a call costs.
import ast
import json
import os
import socket
import sys
import types
import typing


def open_channel():
    channel = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return channel


def receive(channel, count):
    data = bytearray()
    while len(data) < count:
        part = channel.recv(min(count - len(data), 1 << 20))
        if not part:
            raise EOFError("the request ends early")
        data += part
    return bytes(data)


# ── Pydantic, or as much of it as sources of tools use where it is not installed


def stand_in():
    module = types.ModuleType("pydantic")
    missing = object()

    class FieldInfo:
        def __init__(self, default=missing, default_factory=None, **about):
            self.default, self.default_factory, self.about = default, default_factory, about

        def value(self):
            if self.default_factory is not None:
                return self.default_factory()
            return missing if self.default is ... else self.default

    def field(default=missing, *, default_factory=None, **about):
        return FieldInfo(default, default_factory, **about)

    class ValidationError(ValueError):
        pass

    class BaseModel:
        def __init_subclass__(cls, **about):
            super().__init_subclass__()

        def __init__(self, /, **values):
            hints = hints_of(type(self))
            for name, hint in hints.items():
                if name.startswith("_") or typing.get_origin(hint) is typing.ClassVar:
                    continue
                if name in values:
                    value = convert(values[name], hint)
                else:
                    value = getattr(type(self), name, missing)
                    if isinstance(value, FieldInfo):
                        value = value.value()
                    if value is missing and type(None) in typing.get_args(hint):
                        value = None
                    if value is missing:
                        raise ValidationError(f"{type(self).__name__}: field '{name}' is missing")
                setattr(self, name, value)

        def model_dump(self, **about):
            return {name: dumped(value) for name, value in vars(self).items()}

        dict = model_dump

        def model_dump_json(self, **about):
            return json.dumps(self.model_dump())

        @classmethod
        def model_validate(cls, value):
            return cls(**value)

        def __repr__(self):
            shown = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
            return f"{type(self).__name__}({shown})"

        def __eq__(self, other):
            return type(self) is type(other) and vars(self) == vars(other)

    def dumped(value):
        if isinstance(value, BaseModel):
            return value.model_dump()
        if isinstance(value, (list, tuple)):
            return [dumped(item) for item in value]
        if isinstance(value, dict):
            return {name: dumped(item) for name, item in value.items()}
        return value

    def create_model(name, /, **fields):
        space = {"__annotations__": {}}
        for field_name, (hint, default) in fields.items():
            space["__annotations__"][field_name] = hint
            if default is not ...:
                space[field_name] = default
        return type(name, (BaseModel,), space)

    module.BaseModel, module.Field, module.ValidationError = BaseModel, field, ValidationError
    module.create_model = create_model
    return module


def pydantic():
    try:
        import pydantic as module
    except ImportError:
        module = sys.modules["pydantic"] = stand_in()
    return module


# ── arguments


def hints_of(thing):
    try:
        return typing.get_type_hints(thing)
    except Exception:
        return dict(getattr(thing, "__annotations__", {}))


def is_model(hint):
    return isinstance(hint, type) and hasattr(hint, "model_dump") and hasattr(hint, "model_validate")


def convert(value, hint):
    """The value as its annotation says; as it is where that cannot be."""
    try:
        return converted(value, hint)
    except Exception:
        return value


def converted(value, hint):
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Union or origin is getattr(types, "UnionType", None):
        if value is None:
            return None
        others = [one for one in inner if one is not type(None)]
        return converted(value, others[0]) if len(others) == 1 else value
    if is_model(hint):
        value = json.loads(value) if isinstance(value, str) else value
        return hint(**value) if isinstance(value, dict) else value
    if hint in (int, float) and isinstance(value, str):
        return hint(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if hint is bool and isinstance(value, str):
        return {"true": True, "false": False}[value.lower()]
    container = origin or hint
    if container in (list, tuple, dict, set) and isinstance(value, str):
        value = json.loads(value)
    if container is list and isinstance(value, list):
        return [convert(item, inner[0]) for item in value] if inner else value
    if container is tuple and isinstance(value, list):
        return tuple(convert(item, one) for item, one in zip(value, inner)) if inner else tuple(value)
    if container is dict and isinstance(value, dict) and len(inner) == 2:
        return {name: convert(item, inner[1]) for name, item in value.items()}
    return value


def models_of(schema):
    """A class for every object of a schema: the root's last. Annotations of the source may name them."""
    library = pydantic()
    definitions = {**schema.get("definitions", {}), **schema.get("$defs", {})}
    made = {}

    def hint(part):
        if "$ref" in part:
            return model(part["$ref"].rsplit("/", 1)[-1])
        options = [one for one in part.get("anyOf", []) if one.get("type") != "null"]
        if "anyOf" in part:
            nullable = len(options) < len(part["anyOf"])
            inner = hint(options[0]) if len(options) == 1 else typing.Any
            return typing.Optional[inner] if nullable else inner
        if len(part.get("allOf", [])) == 1:
            return hint(part["allOf"][0])
        kind = part.get("type")
        if kind == "array":
            return typing.List[hint(part.get("items", {}))]
        if kind == "object":
            return build(part["title"], part) if part.get("properties") and "title" in part else dict
        return {"string": str, "integer": int, "number": float, "boolean": bool}.get(kind, typing.Any)

    def model(name):
        if name not in made:
            made[name] = dict  # what holds itself is a plain object inside
            definition = definitions.get(name, {})
            made[name] = build(definition.get("title", name), definition) if definition.get("properties") else hint(definition)
        return made[name]

    def build(title, part):
        fields = {}
        for name, inner in part.get("properties", {}).items():
            kind = hint(inner)
            if name in part.get("required", []):
                fields[name] = (kind, ...)
            elif "default" in inner:
                fields[name] = (kind, inner["default"])
            else:
                fields[name] = (typing.Optional[kind], None)
        return library.create_model(title, **fields)

    names = {definitions[name].get("title", name): model(name) for name in definitions}
    root = build(schema.get("title", "Arguments"), schema)
    return {**{name: found for name, found in names.items() if is_model(found)}, root.__name__: root}, root


# ── what a tool sees of its agent


class Block:
    def __init__(self, block):
        self.id, self.label, self.value = block["id"], block["label"], block["value"]
        self.limit, self.description = block["limit"], block["description"]
        self.read_only = block["read_only"]


class Memory:
    def __init__(self, blocks):
        self.blocks = [Block(block) for block in blocks]

    def get_block(self, label):
        for block in self.blocks:
            if block.label == label:
                return block
        raise KeyError(f"there is no block '{label}', there are: {', '.join(self.list_block_labels())}")

    def get_blocks(self):
        return self.blocks

    def list_block_labels(self):
        return [block.label for block in self.blocks]

    def update_block_value(self, label, value):
        if not isinstance(value, str):
            raise ValueError("the value of a block is a text")
        self.get_block(label).value = value


class AgentState:
    def __init__(self, agent):
        self.id, self.name = agent["id"], agent["name"]
        self.system, self.timezone = agent["system"], agent["timezone"]
        self.memory = Memory(agent["blocks"])


# ── results


def plain(value, depth=0):
    """A result as JSON can hold it: models are objects, what has no form of its own is its text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if value == value and value not in (float("inf"), float("-inf")) else str(value)
    if depth > 60:
        return str(value)
    if is_model(type(value)):
        return plain(value.model_dump(), depth)
    if isinstance(value, dict):
        return {name if isinstance(name, str) else str(name): plain(item, depth + 1) for name, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item, depth + 1) for item in value]
    return str(value)


def parameters_of(function):
    code = getattr(getattr(function, "__wrapped__", function), "__code__", None)
    if code is not None:
        return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    import inspect

    return list(inspect.signature(function).parameters)


def call(request):
    source, name = request["source"], request["name"]
    module = types.ModuleType("tool")
    sys.modules["tool"] = module
    space = module.__dict__
    space.update({each: getattr(typing, each) for each in typing.__all__})
    space["client"] = None
    root = None
    if request["args_schema"] is not None:
        models, root = models_of(request["args_schema"])
        for model in models.values():
            model.__module__ = "tool"
        space.update(models)
    else:
        pydantic_is_wanted = "pydantic" in source
        if pydantic_is_wanted:
            pydantic()
    file = f"<{name}>"
    SOURCES[file] = source
    tree = ast.parse(source, file)
    functions = [each.name for each in tree.body if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef))]
    exec(compile(tree, file, "exec", dont_inherit=True), space)
    if not functions:
        raise NameError("the source has no function")
    function = space[name if name in functions else functions[-1]]
    arguments = dict(request["arguments"])
    if root is not None:
        held = root(**arguments)
        arguments = {given: getattr(held, given, arguments[given]) for given in arguments}
    else:
        hints = hints_of(function)
        arguments = {given: convert(value, hints.get(given)) for given, value in arguments.items()}
    takes = parameters_of(function)
    agent = AgentState(request["agent"]) if request["agent"] else None
    if "agent_state" in takes:
        arguments["agent_state"] = agent
    if "agent_id" in takes:
        arguments["agent_id"] = agent.id if agent else None
    result = function(**arguments)
    if hasattr(result, "__await__"):
        import asyncio

        async def awaited():
            return await result

        result = asyncio.run(awaited())
    edits = []
    if agent is not None:
        before = {block["label"]: block["value"] for block in request["agent"]["blocks"]}
        blocks = agent.memory.blocks
        edits = [[block.label, str(block.value)] for block in blocks if before.get(block.label) != block.value]
    return {"value": plain(result), "edits": edits}


def script(request):
    """Runs a whole program; the value of an expression at its end is its result."""
    source = request["source"]
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    if "pydantic" in source:
        pydantic()
    file = "<program>"
    SOURCES[file] = source
    tree = ast.parse(source, file)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, file, "exec", dont_inherit=True), module.__dict__)
    results = []
    if last is not None:
        value = eval(compile(ast.Expression(last.value), file, "eval", dont_inherit=True), module.__dict__)
        if value is not None:
            results.append(plain(value))
    return {"value": {"results": results}, "edits": []}


#: By the names that tracebacks have for them.
SOURCES = {}


def own_frames(error):
    """The traceback without what is ours."""
    import linecache
    import traceback

    for file, source in SOURCES.items():
        linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    frame = error.__traceback__
    while frame is not None and frame.tb_frame.f_code.co_filename == "<string>":
        frame = frame.tb_next
    return "".join(traceback.format_exception(type(error), error, frame))


def main():
    channel = open_channel()
    request = json.loads(receive(channel, int.from_bytes(receive(channel, 4), "big")))
    if request["network"]:
        open_network(channel)
    sys.path.insert(0, os.getcwd())
    try:
        answer = script(request) if request["part"] == "script" else call(request)
        text = json.dumps(answer)
    except BaseException as error:
        answer = {"error": {"name": type(error).__name__, "message": str(error)}}
        try:
            sys.stderr.write(own_frames(error))
        except BaseException:
            pass
        text = json.dumps(answer)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:
            pass
    channel.sendall(text.encode("utf-8", "replace"))
    channel.close()
    # Threads that the tool left behind end with it.
    os._exit(0 if "value" in answer else 1)


main()
