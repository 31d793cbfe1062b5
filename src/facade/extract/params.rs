//! The query of a request.

use crate::domain::id::BadId;
use crate::domain::page::{Order, Page};
use crate::facade::Facade;
use crate::facade::error::ApiError;
use crate::facade::misfit::Misfit;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use jiff::Timestamp;
use jiff::civil::DateTime;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// The query: a multimap, unknown names are ignored, lists are repeated names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl FromRequestParts<Facade> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Facade) -> Result<Self, ApiError> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default()))
    }
}

impl Params {
    pub(crate) fn parse(query: &str) -> Self {
        Self(
            url::form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect(),
        )
    }

    /// The last value of that name.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.last(name).map(str::to_owned)
    }

    fn last(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        self.0
            .iter()
            .filter(|(key, _)| key == name)
            .map(|(_, value)| value.clone())
            .collect()
    }

    /// A text of so many characters.
    pub(crate) fn text_within(
        &self,
        name: &str,
        length: RangeInclusive<usize>,
    ) -> Result<Option<String>, Misfit> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let (least, most) = (*length.start(), *length.end());
        let counted = |bound: usize| {
            let s = if bound == 1 { "" } else { "s" };
            format!("{bound} character{s}")
        };
        let (kind, message, ctx) = match text.chars().count() {
            found if found < least => (
                "string_too_short",
                format!("String should have at least {}", counted(least)),
                ("min_length", least),
            ),
            found if found > most => (
                "string_too_long",
                format!("String should have at most {}", counted(most)),
                ("max_length", most),
            ),
            _ => return Ok(Some(text)),
        };
        Err(Misfit::new(&["query", name], kind, message, text).with(ctx.0, ctx.1))
    }

    /// A text of so many ASCII letters, digits and `others`.
    pub(crate) fn spelled(
        &self,
        name: &str,
        length: RangeInclusive<usize>,
        others: &str,
    ) -> Result<Option<String>, Misfit> {
        let Some(text) = self.text_within(name, length)? else {
            return Ok(None);
        };
        let fits = |c: char| c.is_ascii_alphanumeric() || others.contains(c);
        if text.chars().all(fits) {
            return Ok(Some(text));
        }
        let pattern = format!("^[a-zA-Z0-9{others}]+$");
        let message = format_args!("String should match pattern '{pattern}'");
        let misfit = Misfit::new(&["query", name], "string_pattern_mismatch", message, text);
        Err(misfit.with("pattern", pattern))
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, Misfit> {
        self.last(name)
            .map(|text| number(&["query", name], text))
            .transpose()
    }

    /// A number within bounds.
    pub(crate) fn number_within(
        &self,
        name: &str,
        bounds: RangeInclusive<u64>,
    ) -> Result<Option<u64>, Misfit> {
        let number = self.number(name)?;
        let out = |kind, compared: &str, (rule, bound): (_, u64)| {
            let message = format_args!("Input should be {compared} than or equal to {bound}");
            let input = self.last(name).unwrap_or_default();
            Err(Misfit::new(&["query", name], kind, message, input).with(rule, bound))
        };
        match number {
            Some(number) if number < *bounds.start() => {
                out("greater_than_equal", "greater", ("ge", *bounds.start()))
            }
            Some(number) if number > *bounds.end() => {
                out("less_than_equal", "less", ("le", *bounds.end()))
            }
            number => Ok(number),
        }
    }

    /// All numbers of that name.
    pub(crate) fn numbers(&self, name: &str) -> Result<Vec<u64>, Misfit> {
        let read =
            |(index, text): (usize, &String)| number(&["query", name, &index.to_string()], text);
        self.all(name).iter().enumerate().map(read).collect()
    }

    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, Misfit> {
        let read = |text: &str| match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "on" | "yes" | "t" | "y" => Ok(true),
            "false" | "0" | "off" | "no" | "f" | "n" => Ok(false),
            _ => Err(Misfit::new(
                &["query", name],
                "bool_parsing",
                "Input should be a valid boolean, unable to interpret input",
                text,
            )),
        };
        self.last(name).map(read).transpose()
    }

    pub(crate) fn id<T: FromStr<Err = BadId>>(&self, name: &str) -> Result<Option<T>, Misfit> {
        let read = |text| id(&["query", name], text);
        self.last(name).map(read).transpose()
    }

    /// All ids of that name.
    pub(crate) fn ids<T: FromStr<Err = BadId>>(&self, name: &str) -> Result<Vec<T>, Misfit> {
        let read = |(index, text): (usize, &String)| id(&["query", name, &index.to_string()], text);
        self.all(name).iter().enumerate().map(read).collect()
    }

    /// Any ISO 8601 form; without a zone it is UTC.
    pub(crate) fn time(&self, name: &str) -> Result<Option<Timestamp>, Misfit> {
        let bad = |text: &str| {
            Misfit::new(
                &["query", name],
                "datetime_parsing",
                "Input should be a valid datetime",
                text,
            )
        };
        self.last(name)
            .map(|text| time(text).ok_or_else(|| bad(text)))
            .transpose()
    }

    /// One of `words`, which the contract lists in place.
    pub(crate) fn word<T: Copy>(
        &self,
        name: &str,
        words: &[(&str, T)],
    ) -> Result<Option<T>, Misfit> {
        let Some(text) = self.last(name) else {
            return Ok(None);
        };
        match words.iter().find(|(word, _)| *word == text) {
            Some((_, meaning)) => Ok(Some(*meaning)),
            None => {
                let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                Err(Misfit::not_one_of(
                    &["query", name],
                    "literal_error",
                    &known,
                    text,
                ))
            }
        }
    }

    /// One of `words`, a list with a name of its own in the contract.
    pub(crate) fn named<T>(
        &self,
        name: &str,
        parse: fn(&str) -> Option<T>,
        words: &[&str],
    ) -> Result<Option<T>, Misfit> {
        let read = |text: &str| {
            let unknown = || Misfit::not_one_of(&["query", name], "enum", words, text);
            parse(text).ok_or_else(unknown)
        };
        self.last(name).map(read).transpose()
    }

    /// All of that name.
    pub(crate) fn all_named<T>(
        &self,
        name: &str,
        parse: fn(&str) -> Option<T>,
        words: &[&str],
    ) -> Result<Vec<T>, Misfit> {
        let read = |(index, text): (usize, &String)| {
            let loc = ["query", name, &index.to_string()];
            let unknown = || Misfit::not_one_of(&loc, "enum", words, text.as_str());
            parse(text).ok_or_else(unknown)
        };
        self.all(name).iter().enumerate().map(read).collect()
    }

    pub(crate) fn order(&self, default: Order) -> Result<Order, Misfit> {
        let words = [("asc", Order::Ascending), ("desc", Order::Descending)];
        Ok(self.word("order", &words)?.unwrap_or(default))
    }

    /// For a list that has one order: any other is refused.
    pub(crate) fn ordered_by(&self, only: &str) -> Result<(), Misfit> {
        self.word("order_by", &[(only, ())]).map(drop)
    }

    /// At most `MOST`; 0 is as many as are allowed.
    pub(crate) fn limit(&self, default: usize) -> Result<usize, Misfit> {
        let limit = self
            .number("limit")?
            .map_or(default, |limit| usize::try_from(limit).unwrap_or(MOST));
        Ok(if limit == 0 { MOST } else { limit.min(MOST) })
    }

    /// Cursor, limit and order of a list by age.
    pub(crate) fn page<Id: FromStr<Err = BadId>>(
        &self,
        limit: usize,
        order: Order,
    ) -> Result<Page<Id>, Misfit> {
        self.ordered_by("created_at")?;
        self.page_in_any_order(limit, order)
    }

    /// The same for a list whose `order_by` is read by its route. A cursor that is no id names nothing, and is ignored like
    /// any that names nothing.
    pub(crate) fn page_in_any_order<Id: FromStr<Err = BadId>>(
        &self,
        limit: usize,
        order: Order,
    ) -> Result<Page<Id>, Misfit> {
        let cursor = |name| self.last(name).and_then(|text| text.parse().ok());
        Ok(Page {
            after: cursor("after"),
            before: cursor("before"),
            limit: self.limit(limit)?,
            order: self.order(order)?,
        })
    }
}

/// Most items of one page.
pub(crate) const MOST: usize = 1000;

fn id<T: FromStr<Err = BadId>>(loc: &[&str], text: &str) -> Result<T, Misfit> {
    let bad = |bad: BadId| {
        let message = bad.to_string();
        Misfit::new(loc, "string_pattern_mismatch", message, bad.input)
    };
    text.parse().map_err(bad)
}

fn number(loc: &[&str], text: &str) -> Result<u64, Misfit> {
    let bad = |_| {
        if text.parse::<i64>().is_ok_and(|number| number < 0) {
            let message = "Input should be greater than or equal to 0";
            Misfit::new(loc, "greater_than_equal", message, text).with("ge", 0)
        } else {
            let message = "Input should be a valid integer, unable to parse string as an integer";
            Misfit::new(loc, "int_parsing", message, text)
        }
    };
    text.parse().map_err(bad)
}

pub(crate) fn time(text: &str) -> Option<Timestamp> {
    let text = text
        .trim()
        .replace(' ', if text.contains('T') { "+" } else { "T" });
    let zoned = text.parse::<Timestamp>().ok();
    let naive = || {
        text.parse::<DateTime>()
            .ok()?
            .to_zoned(jiff::tz::TimeZone::UTC)
            .ok()
    };
    zoned.or_else(|| naive().map(|zoned| zoned.timestamp()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_without_a_zone_are_utc() {
        let noon: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        for text in [
            "2026-11-22T12:00:00",
            "2026-11-22 12:00:00",
            "2026-11-22T12:00:00Z",
            "2026-11-22T13:00:00+01:00",
            "2026-11-22T13:00:00 01:00",
        ] {
            assert_eq!(time(text), Some(noon), "{text}");
        }
        assert_eq!(time("yesterday"), None);
    }

    #[test]
    fn limits_are_bounded_and_zero_is_the_most() {
        let limit = |query: &str| Params::parse(query).limit(50).ok();
        assert_eq!(
            [
                limit(""),
                limit("limit=7"),
                limit("limit=0"),
                limit("limit=99999")
            ],
            [Some(50), Some(7), Some(MOST), Some(MOST)]
        );
        assert_eq!(limit("limit=-1"), None);
    }

    #[test]
    fn what_does_not_fit_is_told_in_the_contracts_words() {
        let text = |query: &str| Params::parse(query).text_within("q", 1..=3).map(drop);
        let spelled = |query: &str| Params::parse(query).spelled("q", 1..=9, "_/-").map(drop);
        let number = |query: &str| Params::parse(query).number_within("q", 1..=9).map(drop);
        let flag = |query: &str| Params::parse(query).flag("q").map(drop);
        let only = |query: &str| Params::parse(query).ordered_by("created_at");
        let cases = [
            (text("q="), "string_too_short", "'ctx': {'min_length': 1}"),
            (text("q=long"), "string_too_long", "'input': 'long'"),
            (
                spelled("q=a b"),
                "string_pattern_mismatch",
                "'^[a-zA-Z0-9_/-]+$'",
            ),
            (number("q=x"), "int_parsing", "'input': 'x'"),
            (number("q=-1"), "greater_than_equal", "'input': '-1'"),
            (number("q=0"), "greater_than_equal", "'ctx': {'ge': 1}"),
            (number("q=10"), "less_than_equal", "'ctx': {'le': 9}"),
            (flag("q=maybe"), "bool_parsing", "('query', 'q')"),
            (
                only("order_by=name"),
                "literal_error",
                "Input should be 'created_at'",
            ),
        ];
        for (found, kind, part) in cases {
            let found = found.unwrap_err().to_string();
            let start = format!("{{'type': '{kind}'");
            assert!(found.starts_with(&start) && found.contains(part), "{found}");
        }
        for fits in [
            text("q=%C3%A9%C3%A9%C3%A9"),
            text(""),
            spelled("q=a/b"),
            number("q=9"),
        ] {
            assert_eq!(fits, Ok(()));
        }
        assert_eq!(only("order_by=created_at"), Ok(()));
    }
}
