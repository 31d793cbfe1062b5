use super::*;
use crate::domain::id::UserId;

fn asked(v1: bool, query: &str) -> Result<Shown, ApiError> {
    shown(
        Caller {
            user: UserId::DEFAULT,
            v1,
        },
        &Params::parse(query),
    )
}

#[test]
fn relations_are_shown_by_name_or_by_the_clients_generation() {
    assert_eq!(asked(true, "").unwrap(), Shown::NOTHING);
    assert_eq!(asked(false, "").unwrap(), Shown::EVERYTHING);
    let tools = Shown {
        tools: true,
        ..Shown::NOTHING
    };
    assert_eq!(
        asked(false, "include=agent.tools&include=agent.managed_group").unwrap(),
        tools
    );
    assert_eq!(asked(true, "include_relationships=tools").unwrap(), tools);
    assert_eq!(
        asked(true, "include=agent.blocks").unwrap(),
        Shown {
            blocks: true,
            tags: true,
            ..Shown::NOTHING
        }
    );
    assert!(asked(true, "include=agent.everything").is_err());
}

#[test]
fn a_comma_does_not_make_a_list() {
    assert_eq!(
        asked(true, "include_relationships=tools,tags").unwrap(),
        Shown::NOTHING
    );
    assert!(asked(true, "include=agent.tools,agent.tags").is_err());
}

#[test]
fn folders_are_refused_and_not_forgotten() {
    let some = Some(vec!["source-1".to_owned()]);
    assert!(no_folders([&Some(Vec::new()), &some]).is_err());
    assert!(no_folders([&None, &Some(Vec::new())]).is_ok());
}
