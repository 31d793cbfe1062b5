//! The texts that new agents start from. Short on purpose: with tools and one long question the compiled message has to fit
//! into a window of 3000 tokens.

use super::agent::{AgentType, CompactionMode};
use super::id::AgentId;
use super::model::LlmConfig;

/// The base prompt of an agent type; `None` for the type that has to bring its own.
pub fn system_prompt(agent_type: AgentType) -> Option<String> {
    let text = match agent_type {
        AgentType::LettaV1Agent => NATIVE,
        AgentType::MemgptAgent | AgentType::MemgptV2Agent => SPEAKING_BY_TOOL,
        AgentType::SleeptimeAgent | AgentType::VoiceSleeptimeAgent => KEEPER_OF_MEMORY,
        AgentType::ReactAgent => TOOLS_ONLY,
        AgentType::WorkflowAgent => WORKFLOW,
        AgentType::VoiceConvoAgent => VOICE,
        AgentType::SplitThreadAgent => return None,
    };
    Some(format!("<base_instructions>\n{text}\n</base_instructions>"))
}

const NATIVE: &str = "You are an assistant with a memory that outlasts every conversation.

Your memory blocks are shown below. They are always in front of you, and only you keep them up to date: when you learn \
something about the person you talk to, or about yourself, that will matter later, write it down with your memory tools \
before you answer. Correct what turns out to be wrong. Keep entries short and factual.

Older messages leave this window but are not lost: search them when you need something that was said before. Say so when you \
do not know something, and never invent a memory.

Answer in plain text, directly to the person. Call a tool only when it helps; when its result is all you need, answer.";

const SPEAKING_BY_TOOL: &str = "You are an assistant with a memory that outlasts every conversation.

What you write as plain text is thought, and nobody sees it. To say something, call `send_message`.

Your memory blocks are shown below. Keep them up to date with your memory tools whenever you learn something that will matter \
later. Older messages leave this window but can be searched.

Ask for another step with `request_heartbeat` when you want to go on after a tool; otherwise your turn ends.";

const KEEPER_OF_MEMORY: &str = "You look after the memory of another assistant while it rests. You are shown what was said \
lately. Bring the memory blocks up to date with your tools: add what is new, correct what changed, merge what is said twice, \
remove what no longer matters. Write complete sentences with names and dates instead of pronouns and 'today'. Call \
`memory_finish_edits` when the blocks say what they should.";

const TOOLS_ONLY: &str = "You solve the task you are given with your tools. Think about what you need next, call the tool that \
gives it, and look at its result before you go on. Report the outcome when the task is done.";

const WORKFLOW: &str = "You carry out one workflow with your tools, step by step, in the order that the rules allow. You \
remember nothing between runs. Report the outcome when the last step is done.";

const VOICE: &str = "You are on a voice call. Answer in one or two short spoken sentences, without lists, markup or emoji. \
Search your memory when the caller refers to something that was said before.";

/// What a block with this label is for, where an agent is created with it and nothing else was said.
pub fn block_description(label: &str) -> Option<&'static str> {
    match label {
        "human" => Some(
            "What you know about the person you talk to: name, circumstances, preferences, plans. Update it as you learn more.",
        ),
        "persona" => Some(
            "Who you are: your character, your tone, what you care about and how you work. Let it grow with experience.",
        ),
        _ => None,
    }
}

/// What the summariser is asked.
pub fn compaction_prompt(mode: CompactionMode) -> &'static str {
    match mode {
        CompactionMode::All => {
            "Summarise the whole conversation so that it can be continued from your summary alone. Say what the person wants and why, what \
was decided, what was done with which result, and what is open; if something is under way, where it stands and what comes next. Keep \
names, numbers, dates, places, preferences and promises as they were said. Write plain prose, no more than 300 words."
        }
        CompactionMode::SlidingWindow => {
            "Summarise these messages: the older part of a conversation whose newer part stays as it is and follows your summary. Keep what \
later messages may refer to: requests, decisions, results, names, numbers, dates, preferences, promises, and what is open. Write plain \
prose, no more than 200 words."
        }
        CompactionMode::SelfCompactAll => {
            "Pause what you are doing. This window is nearly full: everything above, except your instructions and memory, is about to leave \
it, and you will go on from a summary that you write now. Say what the person wants and why, what was decided, what you did with which \
result, what is open, and where you stand and what you were about to do. Keep names, numbers, dates, preferences and promises as they \
were said. Call no tool and address nobody. Answer with the summary alone, in plain prose, no more than 300 words."
        }
        CompactionMode::SelfCompactSlidingWindow => {
            "Pause what you are doing. This window is nearly full: the messages above, except your instructions and memory, are about to leave \
it; newer ones that you do not see here stay and follow your summary. Keep what they may refer to: requests, decisions, results, names, \
numbers, dates, preferences, promises, and what is open. Call no tool and address nobody. Answer with the summary alone, in plain prose, \
no more than 200 words."
        }
    }
}

/// The handle that summarises for an agent with this model: the provider's light one, else the model itself.
pub fn summariser(config: &LlmConfig) -> String {
    let vendors_own = |host: &str| {
        config
            .model_endpoint
            .as_deref()
            .is_some_and(|endpoint| endpoint.contains(host))
    };
    match config.handle().provider.as_str() {
        "anthropic" => "anthropic/claude-haiku-4-5".to_owned(),
        "google_ai" => "google_ai/gemini-2.5-flash".to_owned(),
        // Elsewhere the same dialect is spoken by servers that do not have it.
        "openai" if vendors_own("api.openai.com") => "openai/gpt-5-mini".to_owned(),
        _ => config.handle().to_string(),
    }
}

/// What a model is told that is asked something outside of any agent's context.
pub const BARE: &str = "Answer what you are asked.";

/// The first words of agents that greet.
pub const GREETING: &str =
    "Hello! I am here and I will remember what we talk about. What is on your mind?";

/// A name for an agent that was given none: the same id always gives the same name.
pub fn name(id: AgentId) -> String {
    let bytes = id.bytes();
    let pick = |words: &[&'static str], byte: u8| words[usize::from(byte) % words.len()];
    format!("{} {}", pick(&FIRST, bytes[0]), pick(&SECOND, bytes[1]))
}

const FIRST: [&str; 24] = [
    "Amber", "Brisk", "Calm", "Daring", "Early", "Fabled", "Gentle", "Hidden", "Ivory", "Jolly",
    "Keen", "Lively", "Mellow", "Nimble", "Opal", "Patient", "Quiet", "Rustic", "Silver", "Tender",
    "Upbeat", "Velvet", "Warm", "Zesty",
];

const SECOND: [&str; 24] = [
    "Actor",
    "Balcony",
    "Chorus",
    "Dresser",
    "Encore",
    "Footlight",
    "Gallery",
    "Harlequin",
    "Intermezzo",
    "Jester",
    "Kabuki",
    "Lantern",
    "Matinee",
    "Narrator",
    "Overture",
    "Prompter",
    "Quartet",
    "Rehearsal",
    "Soliloquy",
    "Trapdoor",
    "Understudy",
    "Vignette",
    "Wings",
    "Wardrobe",
];
