use super::*;

fn config(text: Value) -> DomainLlm {
    serde_json::from_value::<LlmConfig>(text).unwrap().into()
}

fn settings(text: Value) -> DomainSettings {
    serde_json::from_value::<ModelSettings>(text)
        .unwrap()
        .into()
}

fn on(kind: &str) -> DomainLlm {
    config(json!({"model": "m", "model_endpoint_type": kind, "context_window": 8_000}))
}

#[test]
fn a_configuration_of_three_fields_is_filled_in_with_the_contracts_defaults() {
    let shown = serde_json::to_value(LlmConfig::from(&on("openai"))).unwrap();
    assert_eq!(
        (
            &shown["temperature"],
            &shown["enable_reasoner"],
            &shown["max_reasoning_tokens"]
        ),
        (&json!(1.0), &json!(true), &json!(0))
    );
    assert_eq!(
        (
            &shown["parallel_tool_calls"],
            &shown["put_inner_thoughts_in_kwargs"]
        ),
        (&json!(false), &json!(false))
    );
    assert_eq!(shown.as_object().unwrap().len(), 27, "every key is there");
}

#[test]
fn an_empty_window_is_no_window() {
    let zero = json!({"model": "m", "model_endpoint_type": "openai", "context_window": 0});
    assert!(serde_json::from_value::<LlmConfig>(zero).is_err());
}

#[test]
fn settings_have_exactly_the_keys_of_their_provider() {
    let keys = |kind: &str| {
        model_settings(&on(kind))
            .as_object()
            .unwrap()
            .keys()
            .skip(4)
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(keys("openai"), ["reasoning", "response_format", "strict"]);
    assert_eq!(
        keys("sglang"),
        ["reasoning", "response_format", "strict", "tool_call_parser"]
    );
    assert_eq!(
        keys("anthropic"),
        [
            "thinking",
            "effort",
            "verbosity",
            "response_format",
            "strict"
        ]
    );
    assert_eq!(keys("google_ai"), ["thinking_config", "response_schema"]);
    assert_eq!(keys("zai"), ["thinking", "response_format"]);
    assert_eq!(keys("groq"), ["response_format"]);
    assert!(keys("baseten").is_empty());
}

#[test]
fn only_settings_that_were_sent_are_laid_over() {
    let mut config = config(
        json!({"model": "m", "model_endpoint_type": "anthropic", "context_window": 8_000, "max_tokens": 99, "strict": true}),
    );
    settings(
        json!({"provider_type": "anthropic", "thinking": {"type": "disabled"}, "temperature": 0.2}),
    )
    .apply(&mut config);
    assert_eq!(
        (config.max_tokens, config.strict, config.temperature),
        (Some(99), true, 0.2)
    );
    assert!(!config.enable_reasoner);
    assert!(
        serde_json::from_value::<ModelSettings>(
            json!({"provider_type": "anthropic", "thinking": {"type": "perhaps"}})
        )
        .is_err()
    );
}

#[test]
fn settings_read_from_an_agent_and_sent_back_change_nothing_that_is_shown() {
    for kind in ["openai", "anthropic", "google_ai", "zai", "groq"] {
        for thinks in [true, false] {
            let mut config = on(kind);
            config.enable_reasoner = thinks;
            let shown = model_settings(&config);
            settings(shown.clone()).apply(&mut config);
            assert_eq!(model_settings(&config), shown, "{kind}");
            assert_eq!(config.enable_reasoner, thinks, "{kind}");
        }
    }
}

#[test]
fn thinking_is_switched_in_the_words_of_each_provider() {
    for (kind, field, on_words, off_words) in [
        (
            "anthropic",
            "thinking",
            json!({"type": "enabled", "budget_tokens": 2_048}),
            json!({"type": "disabled", "budget_tokens": 1_024}),
        ),
        (
            "google_ai",
            "thinking_config",
            json!({"include_thoughts": true, "thinking_budget": 2_048}),
            json!({"include_thoughts": false, "thinking_budget": 1_024}),
        ),
    ] {
        let mut config = on(kind);
        for (words, thinks, budget) in [(on_words, true, 2_048), (off_words, false, 0)] {
            let mut sent = json!({"provider_type": kind});
            sent[field] = words.clone();
            settings(sent).apply(&mut config);
            assert_eq!(
                (config.enable_reasoner, config.max_reasoning_tokens),
                (thinks, budget),
                "{kind}"
            );
            assert_eq!(model_settings(&config)[field], words, "{kind}");
        }
    }
}

#[test]
fn every_tool_rule_is_shown_as_it_was_sent() {
    for rule in [
        json!({"tool_name": "t", "type": "run_first", "args": {"a": 1}, "prompt_template": null}),
        json!({"tool_name": "t", "type": "exit_loop", "prompt_template": "p"}),
        json!({"tool_name": "t", "type": "constrain_child_tools", "children": ["c"], "child_arg_nodes": [{"name": "c", "args": null}], "prompt_template": null}),
        json!({"tool_name": "t", "type": "conditional", "child_output_mapping": {"yes": "c"}, "default_child": null, "require_output_mapping": false, "prompt_template": null}),
        json!({"tool_name": "t", "type": "max_count_per_step", "max_count_limit": 2, "prompt_template": null}),
        json!({"tool_name": "t", "type": "continue_loop", "prompt_template": null}),
        json!({"tool_name": "t", "type": "parent_last_tool", "children": ["c", "d"], "prompt_template": null}),
        json!({"tool_name": "t", "type": "required_before_exit", "prompt_template": null}),
        json!({"tool_name": "t", "type": "requires_approval", "prompt_template": null}),
    ] {
        let read: ToolRule = serde_json::from_value(rule.clone()).unwrap();
        assert_eq!(
            serde_json::to_value(ToolRule::from(&DomainRule::from(read))).unwrap(),
            rule
        );
    }
}

#[test]
fn a_rule_of_no_known_kind_or_with_a_field_missing_is_not_read() {
    for (rule, problem) in [
        (json!({"tool_name": "t"}), "type"),
        (json!({"type": "exit_loop"}), "tool_name"),
        (json!({"tool_name": "t", "type": "run_last"}), "run_last"),
        (
            json!({"tool_name": "t", "type": "parent_last_tool"}),
            "children",
        ),
        (
            json!({"tool_name": "t", "type": "conditional"}),
            "child_output_mapping",
        ),
        (
            json!({"tool_name": "t", "type": "conditional", "child_output_mapping": {"yes": 5}}),
            "'yes' has to be a name and is 5",
        ),
        (
            json!({"tool_name": "t", "type": "max_count_per_step", "max_count_limit": -1}),
            "-1",
        ),
    ] {
        let error = serde_json::from_value::<ToolRule>(rule.clone()).unwrap_err();
        assert!(error.to_string().contains(problem), "{rule}: {error}");
    }
}

#[test]
fn a_mode_is_one_of_the_four_and_null_is_none() {
    let mode = |mode: Value| {
        serde_json::from_value::<CompactionIn>(json!({"mode": mode})).map(|change| change.mode)
    };
    assert_eq!(
        mode(json!("self_compact_all")).unwrap(),
        Some(CompactionMode::SelfCompactAll)
    );
    assert_eq!(mode(Value::Null).unwrap(), None);
    assert!(
        mode(json!("some"))
            .unwrap_err()
            .to_string()
            .starts_with("unknown variant `some`")
    );
}
