//! Built-in tools that agents may already hold and that are not built yet: a call gets an error return that says so.
//! Whoever builds one moves its definition out of here and keeps its number.

use super::{Builtin, Parameter};
use crate::domain::tool::{ToolFailure, ToolType};
use serde::de::IgnoredAny;

fn unbuilt(
    number: u8,
    tool_type: ToolType,
    name: &str,
    description: &str,
    parameters: Vec<Parameter>,
) -> Builtin {
    Builtin::new(
        number,
        tool_type,
        name,
        description,
        parameters,
        |_: IgnoredAny, _| {
            Err(ToolFailure {
                name: "NotImplementedError".into(),
                message: "this tool is not built yet".to_owned(),
            })
        },
    )
}

pub(super) fn tools() -> Vec<Builtin> {
    let mut tools = archival();
    tools.extend(files());
    tools.extend(world());
    tools.extend(voice());
    tools
}

fn archival() -> Vec<Builtin> {
    vec![
        unbuilt(
            3,
            ToolType::Core,
            "archival_memory_insert",
            "Stores a text in long-term archival memory, where archival_memory_search finds it by meaning.",
            vec![
                Parameter::text(
                    "content",
                    "The text to store; it should make sense on its own.",
                ),
                Parameter::texts("tags", "Words to find it by.").optional(),
            ],
        ),
        unbuilt(
            4,
            ToolType::Core,
            "archival_memory_search",
            "Searches long-term archival memory by meaning; the best matches come first.",
            vec![
                Parameter::text("query", "What to look for."),
                Parameter::texts("tags", "Only texts with these tags.").optional(),
                Parameter::choice(
                    "tag_match_mode",
                    &["any", "all"],
                    "Whether one of the tags is enough (any, the default) or all are needed.",
                )
                .optional(),
                Parameter::integer("top_k", "Most results; 5 when left out.").optional(),
                Parameter::text(
                    "start_datetime",
                    "Only texts stored at this ISO date or time, or later.",
                )
                .optional(),
                Parameter::text(
                    "end_datetime",
                    "Only texts stored at this ISO date or time, or earlier.",
                )
                .optional(),
            ],
        )
        .parallel()
        .uncut(),
    ]
}

fn files() -> Vec<Builtin> {
    let request = vec![
        Parameter::text("file_name", "The file, as it is listed."),
        Parameter::integer(
            "offset",
            "Where to start, from 0; the start of the file when left out.",
        )
        .optional(),
        Parameter::integer("length", "How much to show; all that fits when left out.").optional(),
    ];
    vec![
        unbuilt(
            13,
            ToolType::FilesCore,
            "open_files",
            "Opens files, or parts of files, so that their text is shown in your context.",
            vec![
                Parameter::objects("file_requests", request, "The files to open."),
                Parameter::flag(
                    "close_all_others",
                    "Whether to close every other file; false when left out.",
                )
                .optional(),
            ],
        ),
        unbuilt(
            14,
            ToolType::FilesCore,
            "grep_files",
            "Searches the attached files for a regular expression, without regard to case.",
            vec![
                Parameter::text("pattern", "The regular expression."),
                Parameter::text("include", "Only files with such a name, as in *.md.").optional(),
                Parameter::integer(
                    "context_lines",
                    "Lines to show around each match; 1 when left out.",
                )
                .optional(),
                Parameter::integer(
                    "offset",
                    "Matches to skip, to read on after an earlier answer.",
                )
                .optional(),
            ],
        )
        .parallel(),
        unbuilt(
            15,
            ToolType::FilesCore,
            "semantic_search_files",
            "Searches the attached files by meaning; the best passages come first.",
            vec![
                Parameter::text("query", "What to look for."),
                Parameter::integer("limit", "Most passages; 5 when left out.").optional(),
            ],
        )
        .parallel(),
    ]
}

fn world() -> Vec<Builtin> {
    const CATEGORIES: [&str; 9] = [
        "company",
        "research paper",
        "news",
        "pdf",
        "github",
        "tweet",
        "personal site",
        "linkedin profile",
        "financial report",
    ];
    vec![
        unbuilt(
            17,
            ToolType::Builtin,
            "run_code_with_tools",
            "Runs a Python program that can call your tools as functions with keyword arguments.",
            vec![Parameter::text("code", "The program.")],
        ),
        unbuilt(
            18,
            ToolType::Builtin,
            "web_search",
            "Searches the web.",
            vec![
                Parameter::text("query", "What to look for."),
                Parameter::integer("num_results", "Most results, 1 to 100; 10 when left out.")
                    .optional(),
                Parameter::choice("category", &CATEGORIES, "Only pages of this kind.").optional(),
                Parameter::flag(
                    "include_text",
                    "Whether to return the text of the pages; false when left out.",
                )
                .optional(),
                Parameter::texts("include_domains", "Only pages of these domains.").optional(),
                Parameter::texts("exclude_domains", "No pages of these domains.").optional(),
                Parameter::text(
                    "start_published_date",
                    "Only pages published on this ISO date or later.",
                )
                .optional(),
                Parameter::text(
                    "end_published_date",
                    "Only pages published on this ISO date or earlier.",
                )
                .optional(),
                Parameter::text(
                    "user_location",
                    "Two-letter code of the country to search from.",
                )
                .optional(),
            ],
        )
        .parallel(),
    ]
}

fn voice() -> Vec<Builtin> {
    let chunk = vec![
        Parameter::integer("start_index", "The first line of the part."),
        Parameter::integer("end_index", "The last line of the part."),
        Parameter::text("context", "What the part is about, in a sentence or two."),
    ];
    vec![
        unbuilt(
            23,
            ToolType::VoiceSleeptimeCore,
            "store_memories",
            "Stores parts of the conversation that are about to leave the context, each with a line on what it is about.",
            vec![Parameter::objects("chunks", chunk, "The parts to store.")],
        ),
        unbuilt(
            24,
            ToolType::VoiceSleeptimeCore,
            "rethink_user_memory",
            "Writes anew what is remembered of the user.",
            vec![Parameter::text(
                "new_memory",
                "All that is to be remembered of the user.",
            )],
        ),
        unbuilt(
            25,
            ToolType::VoiceSleeptimeCore,
            "finish_rethinking_memory",
            "Says that you are done with rethinking memory.",
            Vec::new(),
        ),
        unbuilt(
            26,
            ToolType::VoiceSleeptimeCore,
            "search_memory",
            "Looks for older parts of the conversation.",
            vec![
                Parameter::texts("convo_keyword_queries", "Words to look for.").optional(),
                Parameter::integer(
                    "start_minutes_ago",
                    "Only what was said this many minutes ago or later.",
                )
                .optional(),
                Parameter::integer(
                    "end_minutes_ago",
                    "Only what was said this many minutes ago or earlier.",
                )
                .optional(),
            ],
        ),
    ]
}
